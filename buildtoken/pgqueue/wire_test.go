package pgqueue_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// wire is a proxy between a queue and its database that can cut connections and refuse requests. It parses as much
// of the protocol as it needs to recognize requests: what a client sends until it waits for an
// answer.
type wire struct {
	dir, to  string
	listener net.Listener

	mu sync.Mutex
	// mu guards the following.
	down   bool
	missed int               // connections that were not made because the wire was down
	silent chan struct{}     // if not nil, closed at the end of the silence
	conns  map[net.Conn]bool // whether the connection holds the lock
	plan   *cut
}

// cut determines which request is the last of its connection. Requests of the connection that
// holds the lock, and notices, do not count.
type cut struct {
	after      int  // requests that are answered before
	commits    bool // only commits count
	loseAnswer bool // the request arrives, and only its answer is lost
	ended      bool // the request arrives, and its answer is an error that ends the connection
	half       bool // the request arrives, and its answer is lost after the first row
	refuse     bool // the request does not arrive; its answer is [refusal], and the connection stays
	thenDown   bool // from then on, only the connection that holds the lock exists
	// hold, if not nil, keeps the database from noticing that its client has gone, until hold
	// is closed.
	hold chan struct{}
	// then is planned when this has happened.
	then     *cut
	happened bool
	answered bool // the answer that is lost has arrived
}

// newWire returns a wire to the server whose socket is in this directory.
func newWire(t *testing.T, to string) *wire {
	t.Helper()
	// The path of a socket can have only about a hundred bytes, so it is not below t.TempDir.
	dir, err := os.MkdirTemp("", "wire") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{dir: dir, to: to, listener: listener, conns: map[net.Conn]bool{}}
	var work sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		w.set(nil, true)
		work.Wait()
		os.RemoveAll(dir)
	})
	work.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { w.serve(client) })
		}
	})
	return w
}

// set starts a new plan. While the wire is down, there are no connections.
func (w *wire) set(plan *cut, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.plan, w.down = plan, down
	if down {
		if w.silent != nil {
			close(w.silent)
			w.silent = nil
		}
		for conn := range w.conns {
			conn.Close()
		}
	}
}

// silence simulates the loss of the server's machine: new connections fail, and existing ones
// hang until the wire is down.
func (w *wire) silence() {
	w.listener.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = make(chan struct{})
}

// outlastSilence returns when no connection is silent.
func (w *wire) outlastSilence() {
	w.mu.Lock()
	silent := w.silent
	w.mu.Unlock()
	if silent != nil {
		<-silent
	}
}

func (w *wire) hangUp(conn net.Conn) {
	w.outlastSilence()
	conn.Close()
}

func (w *wire) keep(conn net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		w.missed++
		conn.Close()
		return false
	}
	w.conns[conn] = false
	return true
}

func (w *wire) holdsLock(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range conns {
		w.conns[conn] = true
	}
}

func (w *wire) hasHappened(plan *cut) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return plan.happened
}

func (w *wire) hasMissed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.missed
}

func (w *wire) hasAnswered(plan *cut) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return plan.answered
}

// loses records that the answer that is lost has arrived.
func (w *wire) loses() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.plan != nil {
		w.plan.answered = true
	}
}

// next decides what happens to a request of a connection.
func (w *wire) next(client, server net.Conn, commits bool) (last bool, loses answerLoss, hold chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.plan == nil || w.plan.happened || w.plan.commits && !commits {
		return false, none, nil
	}
	if w.plan.after > 0 {
		w.plan.after--
		return false, none, nil
	}
	w.plan.happened = true
	if w.plan.thenDown {
		w.down = true
		for conn, holdsLock := range w.conns {
			if !holdsLock && conn != client && conn != server {
				conn.Close()
			}
		}
	}
	plan := w.plan
	if plan.then != nil {
		w.plan = plan.then
	}
	switch {
	case plan.refuse:
		loses = refused
	case plan.half:
		loses = half
	case plan.ended:
		loses = ended
	case plan.loseAnswer:
		loses = whole
	}
	return true, loses, plan.hold
}

// answerLoss is how much of an answer is lost.
type answerLoss int

const (
	none answerLoss = iota
	half
	whole
	refused // the answer is a refusal
	ended   // the answer is an error that ends the connection
)

// refusal is the text of the error with which a wire refuses a request.
const refusal = "refused by the wire"

// errorMessage is an error of the database.
func errorMessage(severity, code, text string) []byte {
	fields := "S" + severity + "\x00V" + severity + "\x00C" + code + "\x00M" + text + "\x00\x00"
	message := binary.BigEndian.AppendUint32([]byte{'E'}, uint32(4+len(fields)))
	return append(message, fields...)
}

// refuse answers a request. status is that of the transaction before it.
func refuse(client net.Conn, status byte) {
	if status == 'T' {
		status = 'E'
	}
	client.Write(append(errorMessage("ERROR", "XX000", refusal), 'Z', 0, 0, 0, 5, status))
}

func (w *wire) serve(client net.Conn) {
	defer w.hangUp(client)
	if !w.keep(client) {
		return
	}
	server, err := net.Dial("unix", filepath.Join(w.to, ".s.PGSQL.5432"))
	if err != nil {
		return
	}
	defer server.Close()
	w.keep(server)
	var mu sync.Mutex
	lost, status := none, byte('I')
	go func() {
		defer w.hangUp(client)
		for {
			kind, message, err := readMessage(server)
			if err != nil {
				return
			}
			mu.Lock()
			drop := lost
			if kind == 'Z' {
				status = message[5]
			}
			mu.Unlock()
			w.outlastSilence()
			if kind == 'Z' && drop != none { // the answer is complete
				w.loses()
				if drop == ended {
					client.Write(errorMessage("FATAL", "57P01", "terminating connection due to administrator command"))
				}
				return
			}
			if drop == none || drop == half {
				client.Write(message)
			}
			if kind == 'D' && drop == half {
				return
			}
		}
	}()
	w.questions(client, server, func(loses answerLoss) {
		mu.Lock()
		defer mu.Unlock()
		if loses == refused {
			refuse(client, status)
			return
		}
		lost = loses
	})
}

// questions forwards the requests of the client.
func (w *wire) questions(client, server net.Conn, lose func(answerLoss)) {
	_, message, err := readStart(client)
	if err != nil {
		return
	}
	server.Write(message)
	var question bytes.Buffer
	var commit []byte // the client's name of a prepared commit
	holdsLock, commits := false, false
	for {
		kind, message, err := readMessage(client)
		if err != nil {
			return
		}
		question.Write(message)
		switch name, sql, _ := bytes.Cut(message[5:], []byte{0}); {
		case kind == 'P' && bytes.HasPrefix(sql, []byte("commit\x00")):
			commit = bytes.Clone(name)
		case kind == 'B' && commit != nil:
			_, rest, _ := bytes.Cut(message[5:], []byte{0}) // the name of the statement that is bound
			name, _, _ := bytes.Cut(rest, []byte{0})
			commits = commits || bytes.Equal(name, commit)
		}
		switch kind {
		case 'S', 'Q', 'c', 'f': // the client waits
		case 'd':
			server.Write(question.Bytes()) // a part of what is copied
			question.Reset()
			continue
		default:
			continue
		}
		if !holdsLock && bytes.Contains(question.Bytes(), []byte("pg_advisory_lock")) {
			holdsLock = true
			w.holdsLock(client, server)
		}
		notice := bytes.Contains(question.Bytes(), []byte("buildtoken test_")) || bytes.Contains(question.Bytes(), []byte("pg_notify"))
		if !holdsLock && !notice {
			last, loses, hold := w.next(client, server, commits)
			switch {
			case last && hold != nil:
				client.Close()
				<-hold
				return
			case last && loses == none:
				return
			case last:
				lose(loses)
			}
			if loses == refused {
				question.Reset()
				commits = false
				continue
			}
		}
		server.Write(question.Bytes())
		question.Reset()
		commits = false
	}
}

func readMessage(from io.Reader) (kind byte, message []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return 0, nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	_, err = io.ReadFull(from, body)
	return head[0], append(head[:], body...), err
}

// readStart reads the first message, which has no type byte.
func readStart(from io.Reader) (kind byte, message []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return 0, nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	_, err = io.ReadFull(from, body)
	return 0, append(head[:], body...), err
}
