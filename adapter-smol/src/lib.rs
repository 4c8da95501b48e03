//! adapter-smol
