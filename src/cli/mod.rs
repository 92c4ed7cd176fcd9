//! `zkore cli`: the commands of zkCli.
