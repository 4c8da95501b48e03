//! adapter-hyper
