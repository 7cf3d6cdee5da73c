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
	// tellEvery is how often others are told at most.
	tellEvery = 2 * time.Millisecond
	// maxPayload is how long a notice may be, in bytes; Postgres takes 8,000.
	maxPayload = 6000
)

// message is what servers tell each other.
type message struct {
	// From tells who sends from all others.
	From string `json:"from"`
	// Due is the earliest instant (nanoseconds since 1970) at which somebody may
	// have something to do: 0 for none, [atOnce] for something else than a due instant.
	Due int64 `json:"due,omitempty"`
	// Servers says that a server came, went, or has other jobs or labels.
	Servers bool `json:"servers,omitempty"`
	queue.Notice
}

// and is what both messages say.
func (m message) and(o message) message {
	if m.Due == 0 || o.Due != 0 && o.Due < m.Due {
		m.Due = o.Due
	}
	m.Servers = m.Servers || o.Servers
	m.Notice = m.And(o.Notice)
	return m
}

// payload is the message as it is sent.
func (m message) payload() (string, error) {
	text, err := json.Marshal(m)
	if err == nil && len(text) > maxPayload {
		m.Notice = queue.Notice{All: true}
		text, err = json.Marshal(m)
	}
	return string(text), err
}

// hub gathers what others have to be told, and what they have told.
type hub struct {
	channel string
	self    string        // who sends
	signal  chan struct{} // has a value when there is something to tell

	mu sync.Mutex
	// mu guards the following.
	pending message
	heard   chan queue.Notice // holds one; who holds mu may add to it
}

func newHub(schema string) hub {
	return hub{
		channel: "buildtoken " + schema,
		self:    strconv.FormatUint(rand.Uint64(), 36), //nolint:gosec // tells servers apart, and protects nothing
		signal:  make(chan struct{}, 1),
		heard:   make(chan queue.Notice, 1),
	}
}

// tell notes what others have to be told.
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

// pass hands on what was heard.
func (h *hub) pass(n queue.Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case earlier := <-h.heard:
		n = earlier.And(n)
	default:
	}
	h.heard <- n
}

// Notices say what other servers have changed. What this one changes, its callers
// know. One notice may stand for several.
func (q *DB) Notices() <-chan queue.Notice { return q.hub.heard }

// Tell has the other servers hear a notice.
func (q *DB) Tell(n queue.Notice) { q.hub.tell(message{Notice: n}) }

// tell sends what is to be told, until Close and what is left then.
func (q *DB) tell() {
	for {
		select {
		case <-q.hub.signal:
		case <-q.stop:
			select {
			case <-q.hub.signal:
				q.send(q.pool, pingEvery)
			default:
			}
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

// send says whether the others were told. What could not be sent is sent later.
func (q *DB) send(by execer, limit time.Duration) bool {
	m := q.hub.take()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	text, err := m.payload()
	if err == nil {
		_, err = by.Exec(ctx, "select pg_notify($1, $2)", q.hub.channel, text)
	}
	if err != nil {
		q.opts.Log.Debug("other servers could not be told", zap.Error(err))
		q.hub.tell(m)
	}
	return err == nil
}
