package pgqueue

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

const (
	// tellEvery is the shortest interval between two notifications.
	tellEvery = 2 * time.Millisecond
	// maxPayload is the size limit of a notification, in bytes; Postgres accepts 8,000.
	maxPayload = 6000
)

// message is a notification of other servers.
type message struct {
	// From identifies the sender.
	From string `json:"from"`
	// Due is the earliest instant (nanoseconds since 1970) at which a server may have
	// something to start: 0 for none, [atOnce] for any other change.
	Due int64 `json:"due,omitempty"`
	// Servers reports that a server came, went, or has other jobs or labels.
	Servers bool `json:"servers,omitempty"`
	queue.Notice
}

// and returns the union of both messages.
func (m message) and(o message) message {
	if m.Due == 0 || o.Due != 0 && o.Due < m.Due {
		m.Due = o.Due
	}
	m.Servers = m.Servers || o.Servers
	m.Notice = m.Merge(o.Notice)
	return m
}

// payload returns the message as it is sent.
func (m message) payload() (string, error) {
	text, err := json.Marshal(m)
	if err == nil && len(text) > maxPayload {
		m.Notice = queue.Notice{All: true}
		text, err = json.Marshal(m)
	}
	return string(text), err
}

// hub collects the outgoing and the incoming notifications.
type hub struct {
	channel string
	self    string        // the sender
	signal  chan struct{} // has a value when pending is not empty

	mu sync.Mutex
	// mu guards the following.
	pending message
	heard   chan queue.Notice // holds one; mu must be held to send
}

func newHub(schema string) hub {
	return hub{
		channel: "buildtoken " + schema,
		self:    strconv.FormatUint(rand.Uint64(), 36), //nolint:gosec // an identifier, not a secret
		signal:  make(chan struct{}, 1),
		heard:   make(chan queue.Notice, 1),
	}
}

// tell adds to the outgoing notification.
func (h *hub) tell(m message) {
	h.mu.Lock()
	h.pending = h.pending.and(m)
	h.mu.Unlock()
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

func (h *hub) take() message {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.pending
	m.From = h.self
	h.pending = message{}
	return m
}

// pass delivers an incoming notification.
func (h *hub) pass(n queue.Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case earlier := <-h.heard:
		n = earlier.Merge(n)
	default:
	}
	h.heard <- n
}

// Notices receives what other servers have changed. One notice may combine several.
func (q *DB) Notices() <-chan queue.Notice { return q.hub.heard }

// Tell sends a notice to the other servers.
func (q *DB) Tell(n queue.Notice) { q.hub.tell(message{Notice: n}) }

// tell sends the outgoing notifications. It ends with Close; leave sends the last ones.
func (q *DB) tell() {
	for {
		select {
		case <-q.hub.signal:
		case <-q.stop:
			return
		}
		wait := tellEvery
		if !q.send(q.pool, q.opts.Timeout) {
			wait = retryEvery
		}
		select {
		case <-time.After(wait):
		case <-q.stop:
		}
	}
}

// execer is a connection, or a pool of them.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// send sends the outgoing notification and reports whether it succeeded. Otherwise the
// notification stays pending.
func (q *DB) send(by execer, limit time.Duration) bool {
	m := q.hub.take()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	text, err := m.payload()
	if err == nil {
		_, err = by.Exec(ctx, "select pg_notify($1, $2)", q.hub.channel, text)
	}
	if err != nil {
		q.opts.Log.Debug("cannot notify other servers", zap.Error(err))
		q.hub.tell(m)
	}
	return err == nil
}
