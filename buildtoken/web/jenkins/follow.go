package jenkins

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// errClientGone says that nobody is there any more to send to.
var errClientGone = errors.New("jenkins: client is gone")

// lastEvent is the id of the event that says that there is no more.
const lastEvent = "end"

// ownLog sends the log so far, and then what comes until the build ends. While
// the item is queued it waits.
func (q *request) ownLog() {
	o, ok := q.own(token.Log, http.MethodGet, http.MethodPost)
	if !ok {
		return
	}
	start, err := parseStart(o.form.first("start"))
	if err != nil {
		q.fail(err)
		return
	}
	var s stream
	if prefers(q.r.Header["Accept"], typeEvents) {
		switch last := q.r.Header.Get("Last-Event-ID"); last {
		case "":
		case lastEvent:
			q.w.WriteHeader(http.StatusNoContent) // which tells a browser not to come back
			return
		default:
			if start, err = parseStart(&last); err != nil {
				q.fail(&badRequestError{"Last-Event-ID is none of ours"})
				return
			}
		}
		s = &eventStream{w: q.w, offset: start}
		q.w.Header().Set("Content-Type", typeEvents)
	} else {
		s = textStream{w: q.w}
		q.w.Header().Set("Content-Type", plainText)
	}
	q.w.Header().Set("X-Accel-Buffering", "no") // a proxy in front should pass it on as it comes
	q.w.WriteHeader(http.StatusOK)
	flush(q.w)
	ctx, release := q.untilDone()
	defer release()
	if err := o.follow(ctx, start, s); err != nil && ctx.Err() == nil && !errors.Is(err, errClientGone) {
		// The status was sent long ago. Cut the connection, so that the client
		// does not take what it has for all there is.
		q.api.log().Warn("log stream ended early", zap.String("job", o.entry.Item.Job), zap.Int64("item", o.entry.Item.ID), zap.Error(err))
		panic(http.ErrAbortHandler)
	}
}

// untilDone is the request's context, ended also by [API.Done]. release must be called.
func (q *request) untilDone() (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(q.r.Context())
	var watch sync.WaitGroup
	watch.Go(func() { // release ends it and waits for it
		select {
		case <-q.api.Done: // a nil channel never is
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel()
		watch.Wait()
	}
}

// stream is a way to send a log.
type stream interface {
	// write sends bytes of the log.
	write(p []byte) error
	// end says that there is no more, and what became of the item.
	end(e queue.Entry) error
}

// follow sends the log of the item's build from an offset on.
func (o *own) follow(ctx context.Context, start int64, s stream) error {
	log, err := o.waitForLog(ctx)
	if err != nil {
		return err
	}
	if log == nil {
		return s.end(o.entry)
	}
	defer func() { _ = log.Close() }() // only read
	if _, err := console.Follow(ctx, log, start, s.write); err != nil {
		return err
	}
	// The log is complete an instant before the end is on record.
	entry, err := o.ctl.Await(ctx, o.api.Definition, o.entry.Item.ID, queue.Entry.Ended)
	switch {
	case err == nil:
		o.entry = entry
	case !errors.Is(err, queue.ErrNotFound): // so many builds came after it that it was dropped
		return err
	}
	return s.end(o.entry)
}

// waitForLog opens the log once it has begun. An item that never has one gives nil.
func (o *own) waitForLog(ctx context.Context) (log *console.Reader, err error) {
	entry, awaitErr := o.ctl.Await(ctx, o.api.Definition, o.entry.Item.ID, func(e queue.Entry) bool {
		if e.Build == nil {
			return e.Ended()
		}
		log, err = o.ctl.Log(ctx, e.Item.Job, e.Build.Number)
		if errors.Is(err, queue.ErrNotFound) { // of a build that runs it is about to be made
			log, err = nil, nil
			return e.Ended()
		}
		return true
	})
	if awaitErr != nil {
		return nil, awaitErr
	}
	o.entry = entry
	return log, err
}

func flush(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush() // one that can't flush sends when it wants to
}

// textStream sends the bytes as they are.
type textStream struct{ w http.ResponseWriter }

func (s textStream) write(p []byte) error {
	if _, err := s.w.Write(p); err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	flush(s.w)
	return nil
}

func (s textStream) end(e queue.Entry) error {
	if e.Cancelled == nil {
		return nil // the log's last line says it
	}
	return s.write([]byte("Cancelled before it was started\n"))
}

// eventStream sends server-sent events. The id of each is the offset behind
// it, with which a browser comes back after a broken connection.
type eventStream struct {
	w      http.ResponseWriter
	offset int64
	// held are the last bytes, if they may be part of something longer: a
	// character, or the end of a line.
	held []byte
	// event is room for one.
	event []byte
}

func (s *eventStream) write(p []byte) error {
	s.held = append(s.held, p...)
	n := wholeRunes(s.held)
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
	text := s.held[:n]
	if !utf8.Valid(text) {
		text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
	}
	// The protocol knows lines only: a bare CR would end one.
	if bytes.IndexByte(text, '\r') >= 0 {
		text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	}
	event := strconv.AppendInt(append(s.event[:0], "id: "...), s.offset, 10)
	for more := true; more; {
		var line []byte
		line, text, more = bytes.Cut(text, []byte("\n"))
		event = append(append(event, "\ndata: "...), line...)
	}
	s.event = append(event, "\n\n"...)
	s.held = append(s.held[:0], s.held[n:]...)
	return textStream{s.w}.write(s.event)
}

func (s *eventStream) end(e queue.Entry) error {
	if err := s.send(len(s.held)); err != nil {
		return err
	}
	last := object{{"state", stateOf(e)}, {"build", nil}, {"result", nil}}
	if e.Build != nil {
		last[1].value, last[2].value = e.Build.Number, orNull(string(e.Build.Result))
	}
	return textStream{s.w}.write([]byte("event: end\nid: " + lastEvent + "\ndata: " + encode(last, flavourJSON) + "\n\n"))
}
