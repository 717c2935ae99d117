//! Bytes between agent and controller: Sparkplug B payloads and topics. Pure.
