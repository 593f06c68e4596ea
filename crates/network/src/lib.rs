//! Networks: bridge, endpoints, addresses, published ports, firewall
