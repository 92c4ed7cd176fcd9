Node does not exist: /zookeeper
