//! Events: Xids, delivered through the shared ring and its futex.

use crate::abi::{EventData, EventDataV1, NO_INSTANCE};
use crate::arg::{Handle, Out};
use crate::code::{INVALID_ARGUMENT, NOT_SUPPORTED, exports};
use crate::eventset::{create, find, free};
use crate::layout::EVENT_XID;
use crate::state::{Device, board, handle};

/// Single- and double-bit errors, Xids, clock changes: what clients commonly register for. Only Xids happen.
const SUPPORTED: u64 = 0x1 | 0x2 | EVENT_XID | 0x10;

exports! {
    fn nvmlEventSetCreate(out: Out<Handle>) {
        if out.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        out.put(create()?)
    }
    fn nvmlEventSetFree(set: Handle) { free(set) }
    fn nvmlDeviceGetSupportedEventTypes(device: Device, out: Out<u64>) {
        board(device)?;
        out.put(SUPPORTED)
    }
    fn nvmlDeviceRegisterEvents(device: Device, kinds: u64, set: Handle) {
        let (board, set) = (board(device)?, find(set)?);
        if kinds & !SUPPORTED != 0 {
            return Err(NOT_SUPPORTED);
        }
        set.register(board.index, kinds);
        Ok(())
    }
    fn nvmlEventSetWait(set: Handle, out: Out<EventDataV1>, timeout_ms: u32) {
        if out.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        let event = find(set)?.wait(timeout_ms)?;
        out.put(EventDataV1 { device: handle(event.gpu), kind: event.kind, data: event.data })
    }
    fn nvmlEventSetWait_v2(set: Handle, out: Out<EventData>, timeout_ms: u32) {
        if out.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        let event = find(set)?.wait(timeout_ms)?;
        out.put(EventData {
            device: handle(event.gpu),
            kind: event.kind,
            data: event.data,
            gpu_instance: NO_INSTANCE,
            compute_instance: NO_INSTANCE,
        })
    }
}
