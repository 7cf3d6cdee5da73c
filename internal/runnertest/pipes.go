package runnertest

import (
	"context"
	"net"
	"net/http"
)

// Pipes is a listener whose connections a transport makes in memory, so that a server and its
// clients can be in one bubble of testing/synctest. Create one with make, and close it when no
// client connects any more.
type Pipes chan net.Conn

// Accept implements [net.Listener].
func (p Pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close implements [net.Listener]. It does nothing.
func (p Pipes) Close() error { return nil }

// Addr implements [net.Listener].
func (p Pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Transport returns a transport that connects to the listener, whatever the address.
func (p Pipes) Transport() *http.Transport {
	return &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		p <- server
		return client, nil
	}}
}
