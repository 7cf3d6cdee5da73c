package queuetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// since shows an instant as the time since the script began.
func since(at time.Time) string { return at.Sub(start).String() }

// refused shows an error of the contract as an answer. It returns any other error.
func refused(err error) ([]string, error) {
	var repeated *queue.RepeatedError
	if errors.As(err, &repeated) {
		verb := "joined"
		if repeated.Receipt.Created {
			verb = "created"
		}
		return line("again: %s item %d", verb, repeated.Receipt.Item), nil
	}
	for _, known := range []error{
		queue.ErrFull, queue.ErrLeft, queue.ErrNotRunning, queue.ErrNotFound, queue.ErrStorage, queue.ErrClosed, queue.ErrKeyReused,
	} {
		if errors.Is(err, known) {
			return line("refused: %v", known), nil
		}
	}
	return nil, err
}

func line(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }

func lines[T any](values []T, show func(T) string) []string {
	var out []string
	for _, v := range values {
		out = append(out, show(v))
	}
	return out
}

func orNothing(out []string) []string {
	if len(out) == 0 {
		return line("nothing")
	}
	return out
}

func causes(it queue.Item) string {
	var out []string
	for _, c := range it.Causes {
		text := string(c.Kind)
		switch {
		case c.Kind == queue.CauseUser:
			text = c.User
		case c.Noted && c.Note == "":
			text = `""`
		case c.Noted:
			text = c.Note
		}
		if c.Addr != "" {
			text += "@" + c.Addr
		}
		if c.Count != 1 {
			text += fmt.Sprint("*", c.Count)
		}
		out = append(out, text)
	}
	if it.MoreCauses > 0 {
		out = append(out, fmt.Sprint("and ", it.MoreCauses, " more"))
	}
	return "[" + strings.Join(out, " ") + "]"
}

func values(it queue.Item) string {
	out := ""
	for _, v := range it.Values {
		switch v.Kind {
		case "password":
			out += fmt.Sprintf(", %s=(%s)", v.Name, v.Sealed)
		case "file":
			out += fmt.Sprintf(", %s=%s (%s)", v.Name, v.Text, v.Ref)
		default:
			out += fmt.Sprintf(", %s=%s", v.Name, v.Text)
		}
	}
	return out
}

func build(b queue.Build) string {
	out := fmt.Sprintf("%s #%d of item %d, started %s", b.Item.Job, b.Number, b.Item.ID, since(b.Started))
	if b.Running() {
		return out + ", running"
	}
	out += fmt.Sprintf(", ended %s, %s", since(b.Ended), b.Result)
	if b.Reason != "" {
		out += ": " + b.Reason
	}
	return out
}

func entry(e queue.Entry) string {
	out := fmt.Sprintf("item %d of %s", e.Item.ID, e.Item.Job)
	switch {
	case e.Build != nil:
		return fmt.Sprintf("%s: left, became %s", out, build(*e.Build))
	case e.Cancelled != nil:
		return fmt.Sprintf("%s: left, cancelled %s by %s", out, since(e.Cancelled.At), e.Cancelled.By)
	}
	out += fmt.Sprintf(": %s, %s", e.State, e.Blockage.Reason)
	switch e.Blockage.Reason {
	case queue.QuietPeriod, queue.NoServer:
		out += " until " + since(e.Blockage.Until)
	case queue.BuildRunning:
		out += fmt.Sprint(": #", e.Blockage.Number)
	case queue.NoExecutor:
		if e.Blockage.Label != "" {
			out += " with label " + e.Blockage.Label
		}
	case queue.JobDisabled, queue.RecordDamaged, queue.NoNode:
	}
	return out + fmt.Sprintf(", position %d, due %s, causes %s", e.Position, since(e.Item.Due), causes(e.Item))
}
