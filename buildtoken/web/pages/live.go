package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

const (
	// debounce is how long a stream waits after a change for more of them.
	debounce = 250 * time.Millisecond
	// heartbeat is how often a stream says that it is still there.
	heartbeat = 20 * time.Second
)

// events writes server-sent events. Its methods may be called concurrently.
type events struct {
	control *http.ResponseController

	// mu guards the following.
	mu sync.Mutex
	w  http.ResponseWriter
	// room is for one event.
	room bytes.Buffer
}

// send writes one event; id is left out if it is empty. A client that is gone
// or too slow is an error.
func (e *events) send(name, id string, data any) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.room.Reset()
	e.room.WriteString("event: " + name + "\n")
	if id != "" {
		e.room.WriteString("id: " + id + "\n")
	}
	e.room.WriteString("data: ")
	encoder := json.NewEncoder(&e.room)
	encoder.SetEscapeHTML(false) // it is no HTML yet
	if err := encoder.Encode(data); err != nil {
		return err
	}
	e.room.WriteByte('\n') // Encode has ended the line
	return e.write(e.room.Bytes())
}

// comment writes what clients take no notice of.
func (e *events) comment(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.write([]byte(text))
}

// write writes what is whole. The caller holds mu.
func (e *events) write(text []byte) error {
	// Also where the server has a timeout for whole answers: a stream is none.
	_ = e.control.SetWriteDeadline(time.Now().Add(web.Piece)) // where it can't be set, the server's own holds
	if _, err := e.w.Write(text); err != nil {
		return err
	}
	return e.control.Flush()
}

// stream answers with the events of a page, until it will not change any
// more, the client goes, or Done is closed:
//
//	page  what is new: title, announcement, and regions
//	log   bytes of the console, see logEvent
//	go    another page has taken the place of this one
//	done  nothing more will come
func (v *visit) stream(load loader) error {
	v.streaming = true
	pg, err := v.watched(load)
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	v.w.WriteHeader(http.StatusOK)
	if v.r.Method == http.MethodHead {
		return nil
	}
	ctx, cancel := context.WithCancel(v.r.Context())
	var follower sync.WaitGroup
	defer follower.Wait()
	defer cancel()
	out := &events{w: v.w, control: http.NewResponseController(v.w)}
	if out.comment("retry: 2000\n\n") != nil {
		return nil
	}
	logEnded := make(chan struct{})
	if pg.log == nil {
		close(logEnded)
	} else {
		place := *pg.log
		follower.Go(func() { // ends with ctx, for which stream waits
			defer close(logEnded)
			if v.followLog(ctx, out, place) != nil {
				cancel() // the client is gone
			}
		})
	}
	v.follow(ctx, out, load, pg, logEnded)
	return nil
}

// watched loads a page, and says when to do it again.
func (v *visit) watched(load loader) (*page, error) {
	changed := v.ctl.Watch()
	pg, err := load(v)
	if err == nil && pg.changed == nil {
		pg.changed = changed
	}
	return pg, err
}

// follow sends what is new until there is nothing more to come.
func (v *visit) follow(ctx context.Context, out *events, load loader, pg *page, logEnded <-chan struct{}) {
	sent := map[string]string{}
	for {
		if pg.redirect != "" {
			_ = out.send("go", "", pg.redirect) // it is the last thing to say
			return
		}
		if v.sendNew(out, pg, sent) != nil {
			return
		}
		if pg.ended {
			select {
			case <-logEnded:
				_ = out.send("done", "", nil) // it is the last thing to say
			case <-ctx.Done():
			case <-v.p.Done:
			}
			return
		}
		if !v.wait(ctx, out, pg.changed, pg.next) {
			return
		}
		v.now = time.Now()
		next, err := v.watched(load)
		if err != nil {
			v.explain(err) // the client asks again and is told
			return
		}
		pg = next
	}
}

// wait returns when something has changed or become due, and a little later
// in case more does. It says false when the stream has to end.
func (v *visit) wait(ctx context.Context, out *events, changed <-chan struct{}, due time.Time) bool {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	var dueNow <-chan time.Time
	if !due.IsZero() {
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		dueNow = timer.C
	}
	for {
		select {
		case <-changed:
		case <-dueNow:
		case <-beat.C:
			if out.comment(": still here\n\n") != nil {
				return false
			}
			continue
		case <-ctx.Done():
			return false
		case <-v.p.Done:
			return false
		}
		return v.pause(ctx, debounce)
	}
}

// pause waits, and says false when the stream has to end.
func (v *visit) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-v.p.Done:
		return false
	}
}

// pageEvent is what is new on a page.
type pageEvent struct {
	Title   string     `json:"title"`
	Say     string     `json:"say"`
	Regions []rendered `json:"regions"`
}

// sendNew sends the regions that differ from what was sent. The first time it
// sends all: only the client knows what it has.
func (v *visit) sendNew(out *events, pg *page, sent map[string]string) error {
	e := pageEvent{Title: pg.Title, Say: pg.Say}
	for _, r := range pg.Regions {
		if r.Static {
			continue
		}
		done, err := v.region(r)
		if err != nil {
			return fmt.Errorf("pages: stream: %w", err)
		}
		if sent[r.Name] == done.Hash {
			continue
		}
		sent[r.Name] = done.Hash
		e.Regions = append(e.Regions, done)
	}
	if e.Regions == nil {
		return nil
	}
	return out.send("page", "", e)
}

// startOf is where in a log a client wants to go on: behind the last event
// that it has, or where its page ends. Negative is the end of the log.
func (v *visit) startOf() int64 {
	for _, text := range []string{v.r.Header.Get("Last-Event-ID"), v.r.URL.Query().Get("start")} {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	}
	return 0
}
