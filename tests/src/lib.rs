//! System tests: closed loop, device truth, interoperability, chaos, browser, tidy.
