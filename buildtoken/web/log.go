package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// FollowLog waits until the build of an item has a log, and calls read with it. read must
// return once it has read the whole log. A log also looks complete while its build is left
// to be resumed, by this server after a restart or by another one. Then FollowLog waits
// until it is resumed, and calls read again, which must continue where it was.
//
// FollowLog returns the last known state of the item when the build has ended, or when there
// is no log because the item was cancelled or the log was dropped. If the build is not on
// record any more, it returns [console.ErrGone].
func (q *Request) FollowLog(ctx context.Context, ctl *buildtoken.Controller, id int64, read func(*console.Reader) error) (queue.Entry, error) {
	var last queue.Entry
	for again := false; ; again = true {
		log, e, err := q.waitForLog(ctx, ctl, id, again)
		switch {
		case again && errors.Is(err, queue.ErrNotFound): // so many builds came after it that it was dropped
			return last, nil
		case err == nil && again && e.Build == nil && !e.Ended(): // the queue was set back
			return e, console.ErrGone
		case err != nil || log == nil:
			return e, err
		}
		last = e
		err = read(log)
		_ = log.Close() // only read
		if err != nil || e.Ended() {
			return e, err
		}
	}
}

// waitForLog opens the log of an item's build once it has begun, nil if there will never be
// one. With again, it was read to its end before: then waitForLog waits until the build has
// ended or was resumed. The caller must close the log.
func (q *Request) waitForLog(ctx context.Context, ctl *buildtoken.Controller, id int64, again bool) (log *console.Reader, e queue.Entry, err error) {
	e, awaitErr := ctl.Await(ctx, q.Definition, id, func(e queue.Entry) bool {
		if e.Build == nil {
			return again || e.Ended()
		}
		reader, openErr := ctl.Log(ctx, e.Item.Job, e.Build.Number)
		switch {
		case errors.Is(openErr, queue.ErrNotFound): // the log of a running build is about to be created
			return e.Ended()
		case openErr == nil && again && !e.Ended() && reader.Complete():
			_ = reader.Close() // only read
			return false
		}
		log, err = reader, openErr
		return true
	})
	if awaitErr != nil {
		return nil, e, awaitErr
	}
	return log, e, err
}

// CutLog ends an answer with a log of a job after the log could not be read to its end. The
// status was sent long ago, so it breaks the connection, and the client does not take an
// incomplete log for a complete one. It does not return.
func (q *Request) CutLog(full string, err error) {
	q.Logger().Warn("log could not be sent to its end", zap.String("job", full), zap.Error(err))
	panic(http.ErrAbortHandler)
}

// WholeRunes returns the length of a text without an incomplete character at its end.
// Each invalid byte counts as a character.
func WholeRunes(text []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		if at := len(text) - back; utf8.RuneStart(text[at]) {
			if !utf8.FullRune(text[at:]) {
				return at
			}
			break
		}
	}
	return len(text)
}

// Offset reads an offset in a log, in bytes. Nil and "" are 0.
func Offset(text *string) (int64, error) {
	if text == nil || *text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(*text, 10, 63)
	if err != nil {
		return 0, &BadRequestError{"start is not a number of bytes"}
	}
	return int64(n), nil
}

// UntilDone returns a context that ends with the request or with the site, whichever is
// first. The caller must call release.
func (q *Request) UntilDone() (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(q.R.Context())
	ended := make(chan struct{})
	go func() { // release ends it and waits for it
		defer close(ended)
		select {
		case <-q.Done: // never, if it is nil
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-ended
	}
}
