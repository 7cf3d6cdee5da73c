package triggers

import (
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// This file exports what tests outside of the package need.
var (
	WaitPreference = waitPreference
	IdempotencyKey = idempotencyKey
)

// EventStream sends a log in pieces as events.
func EventStream(q *web.Request, pieces ...[]byte) {
	e, end := q.Events(q.R.Context())
	defer end()
	s := &eventStream{events: e}
	for _, p := range pieces {
		_ = s.write(p) // a recorder accepts all
	}
	_ = s.end(queue.Entry{})
}
