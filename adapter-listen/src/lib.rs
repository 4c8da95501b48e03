//! adapter-listen
