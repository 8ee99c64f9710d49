package remote

import (
	"errors"
	"net"
	"strconv"
	"strings"
)

var errTarget = errors.New("must be host:port or dns:///host:port")

// ParseTarget reads a target, and gives it as host and port. No other way of gRPC to find a server is let through: a socket of this
// machine is nothing that a definition may name.
func ParseTarget(target string) (string, error) {
	address := strings.TrimPrefix(target, "dns:///")
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, "/@?#% \t\r\n") {
		return "", errTarget
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return "", errTarget
	}
	return net.JoinHostPort(host, port), nil
}
