// Package audit records who asked for what, and what was decided: in a log with one line for
// each decision, and in a [History] of the last ones in memory. Neither contains a secret.
//
// The log is written before the caller is answered, so no decision that a caller knows of is
// missing in it, unless the log cannot be written, as on a full disk.
package audit

import (
	"errors"
	"sync"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// The outcomes of a [Decision].
const (
	Accepted  = "accepted"
	Joined    = "joined"   // an equal item was already queued
	Repeated  = "repeated" // the idempotency key was known
	Refused   = "refused"
	Cancelled = "cancelled"
	Stopped   = "stopped"
)

// Decision is a line of the audit log. It contains no secrets.
type Decision struct {
	// Outcome is one of the constants.
	Outcome string
	// Action is what was requested, such as build or cancel.
	Action string
	// Job is the name of the job, as the request gave it if it was refused.
	Job string
	// Who is the caller, such as "token ci", and Remote its address.
	Who, Remote string
	// Item and Build are the item and the build number, as far as there are any.
	Item, Build int64
	// Rule is the access rule that decided about a caller without a token.
	Rule string
	// Err is why it was refused. If a rule decided, it is named as the rule.
	Err error
}

// Write writes one line for a decision to a log. A nil log discards it.
func Write(log *zap.Logger, d Decision) {
	if log == nil {
		return
	}
	entry := log.Check(zap.InfoLevel, d.Outcome)
	if entry == nil {
		return
	}
	room, _ := rooms.Get().(*[8]zap.Field)
	fields := append(room[:0], zap.String("action", d.Action), zap.String("job", queue.OneLine(job.ShownName(d.Job), 200)),
		zap.String("who", queue.OneLine(d.Who, 200)), zap.String("remote", d.Remote))
	if d.Item != 0 {
		fields = append(fields, zap.Int64("item", d.Item))
	}
	if d.Build != 0 {
		fields = append(fields, zap.Int64("number", d.Build))
	}
	if denied, ok := errors.AsType[*policy.Denied](d.Err); ok {
		d.Rule = denied.Rule.Name
	}
	if d.Rule != "" {
		fields = append(fields, zap.String("rule", d.Rule))
	}
	if d.Err != nil {
		fields = append(fields, zap.String("reason", d.Err.Error()))
	}
	entry.Write(fields...)
	rooms.Put(room)
}

// rooms are for the fields of lines, so that writing one allocates nothing. A core that keeps
// fields copies them.
var rooms = sync.Pool{New: func() any { return new([8]zap.Field) }} //nolint:gochecknoglobals // a pool
