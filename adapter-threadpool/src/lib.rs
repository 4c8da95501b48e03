//! adapter-threadpool
