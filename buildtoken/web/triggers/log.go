package triggers

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// lastEvent is the id of the event that ends a log.
const lastEvent = "end"

// ownLog sends the log so far, and then what comes until the build ends. While the item
// is queued it waits.
func ownLog(q *web.Request) error {
	o, err := newOwn(q, token.Log, http.MethodGet, http.MethodPost)
	if err != nil {
		return err
	}
	start, err := web.Offset(o.start)
	if err != nil {
		return err
	}
	events := q.WantsEvents()
	if last := q.R.Header.Get("Last-Event-ID"); events && last != "" {
		if last == lastEvent {
			q.W.WriteHeader(http.StatusNoContent) // on which a browser does not reconnect
			return nil
		}
		if start, err = web.Offset(&last); err != nil {
			return &web.BadRequestError{Problem: "Last-Event-ID is none of ours"}
		}
	}
	return o.sendLog(start, events)
}

// sendLog sends the log from an offset on, as events or as text, until the build ends.
func (o *own) sendLog(start int64, events bool) error {
	q := o.Request
	leave, err := q.EnterStream()
	if err != nil {
		return err
	}
	defer leave()
	ctx, release := q.UntilDone()
	defer release()
	var s stream = textStream{q}
	if events {
		e, end := q.Events(ctx)
		defer end()
		s = &eventStream{events: e, offset: start}
	} else {
		q.Stream(web.PlainText)
	}
	if err := o.follow(ctx, start, s); err != nil && ctx.Err() == nil && !errors.Is(err, web.ErrClientGone) {
		q.CutLog(o.entry.Item.Job, err)
	}
	return nil
}

// stream is a way to send a log.
type stream interface {
	// write sends bytes of the log.
	write(p []byte) error
	// end ends the log and reports the state of the item.
	end(e queue.Entry) error
}

// follow sends the log of the item's build from an offset on.
func (o *own) follow(ctx context.Context, start int64, s stream) error {
	entry, err := o.FollowLog(ctx, o.ctl, o.entry.Item.ID, func(log *console.Reader) (err error) {
		start, err = console.Follow(ctx, log, start, s.write)
		return err
	})
	switch {
	case errors.Is(err, console.ErrGone):
		if err := s.write([]byte(goneLine)); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	return s.end(entry)
}

// goneLine ends the log of a build whose end will never be on record.
const goneLine = "\n[the log ends here: its build is not on record any more]\n"

// textStream sends the bytes as they are.
type textStream struct{ q *web.Request }

func (s textStream) write(p []byte) error { return s.q.Send(p) }

func (s textStream) end(e queue.Entry) error {
	if e.Cancelled == nil {
		return nil // the last line of the log reports it
	}
	return s.write([]byte("Cancelled before it was started\n"))
}

// eventStream sends server-sent events. The id of each is the offset behind it, with
// which a browser comes back after a broken connection.
type eventStream struct {
	events *web.Events
	offset int64
	// held has the last bytes, if they may be part of something longer: a character, or
	// the end of a line.
	held []byte
}

func (s *eventStream) write(p []byte) error {
	s.held = append(s.held, p...)
	n := web.WholeRunes(s.held)
	if n > 0 && s.held[n-1] == '\r' {
		n--
	}
	return s.send(n)
}

// send sends the first n bytes that are held.
func (s *eventStream) send(n int) error {
	if n == 0 {
		return nil
	}
	s.offset += int64(n)
	if err := s.events.Send("", strconv.FormatInt(s.offset, 10), s.held[:n]); err != nil {
		return err
	}
	s.held = append(s.held[:0], s.held[n:]...)
	return nil
}

// ending is the data of the last event.
type ending struct {
	State  string  `json:"state"`
	Build  *int64  `json:"build"`
	Result *string `json:"result"`
}

func (s *eventStream) end(e queue.Entry) error {
	if err := s.send(len(s.held)); err != nil {
		return err
	}
	last := ending{State: web.State(e)}
	if e.Build != nil {
		last.Build, last.Result = &e.Build.Number, orNull(string(e.Build.Result))
	}
	return s.events.SendJSON("end", lastEvent, last)
}
