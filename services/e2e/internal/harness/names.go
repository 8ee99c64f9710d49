package harness

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a name server for the roles of a replicated cluster: every name of
// the zone has the addresses of all replicas, as a headless service has them.
type names struct {
	conn  net.PacketConn
	hosts []string
	ended chan struct{}
}

// zone ends the names of the roles; no real name does.
const zone = ".prosa.test."

func newNames(hosts []string) (*names, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for names: %w", err)
	}
	n := &names{conn: conn, hosts: hosts, ended: make(chan struct{})}
	go n.serve()
	return n, nil
}

// RoleName is the name of a role in a replicated cluster, which its
// certificate must have.
func RoleName(role string) string { return role + strings.TrimSuffix(zone, ".") }

// target is the gRPC target of a role.
func (n *names) target(role, port string) string {
	return fmt.Sprintf("dns://%s/%s:%s", n.conn.LocalAddr(), RoleName(role), port)
}

func (n *names) serve() {
	defer close(n.ended)
	buffer := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // one datagram that could not be read
		}
		if answer, err := n.answer(buffer[:size]); err == nil {
			_, _ = n.conn.WriteTo(answer, from) // who asked asks again
		}
	}
}

func (n *names) answer(question []byte) ([]byte, error) {
	var asked dnsmessage.Message
	if err := asked.Unpack(question); err != nil {
		return nil, err
	}
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: asked.ID, Response: true, Authoritative: true, RecursionDesired: asked.RecursionDesired},
		Questions: asked.Questions,
	}
	for _, q := range asked.Questions {
		if !strings.HasSuffix(q.Name.String(), zone) {
			answer.RCode = dnsmessage.RCodeNameError
			continue
		}
		if q.Type != dnsmessage.TypeA {
			continue // there is the name, without such an address
		}
		for _, host := range n.hosts {
			answer.Answers = append(answer.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(host).To4())},
			})
		}
	}
	return answer.Pack()
}

func (n *names) close() {
	_ = n.conn.Close() // it was open
	<-n.ended
}
