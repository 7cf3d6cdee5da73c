package triggers

import (
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// What tests outside of the package need to see of it.
var (
	WaitPreference = waitPreference
	IdempotencyKey = idempotencyKey
)

// EventStream sends a log as events in pieces, to its end.
func EventStream(q *web.Request, pieces ...[]byte) {
	e, end := q.Events(q.R.Context())
	defer end()
	s := &eventStream{events: e}
	for _, p := range pieces {
		_ = s.write(p) // a recorder takes all
	}
	_ = s.end(queue.Entry{})
}
