//! `zkore start`, `stop`, `restart`, `status`: what zkServer.sh does.
