package triggers

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

//go:embed shared.html
var sharedHTML string

// sharedPage needs no account: it has no form, no script and no link except to the log.
var sharedPage = template.Must(template.New("shared").Parse(sharedHTML)) //nolint:gochecknoglobals // parsed once, never changed

// sharedTail is how much of the end of a log the page shows, in bytes.
const sharedTail = 512 << 10

// sharedView is what the page shows.
type sharedView struct {
	status
	Title          string
	Queued         time.Time
	Started, Ended time.Time
	Reason         string
	Log            string // its address
	Console        string
	Cut            bool // Console is only the end
}

// serveShared answers a share link: a page, the status as JSON, or the log. Every link
// that is not valid has the same answer.
func serveShared(q *web.Request) error {
	web.SetAll(q.W.Header(), "X-Robots-Tag", "noindex", "Content-Security-Policy", web.ContentPolicy)
	q.W.Header().Add("Vary", "Accept")
	if err := q.Allow(http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	id, log, ok := q.Path.Shared()
	if !ok {
		return web.ErrNotFound
	}
	o := &own{Request: q}
	var err error
	if o.ctl, err = q.Controller(); err != nil {
		return err
	}
	if o.entry, err = o.ctl.SharedItem(q.R.Context(), q.Definition, id); err != nil {
		return err
	}
	switch {
	case log:
		return o.sharedLog()
	case !q.WantsPage():
		q.WriteJSON(http.StatusOK, statusOf(time.Now(), o.entry))
		return nil
	}
	return o.sharedPage(web.SharedURL(q.Root(), id) + "/log")
}

func (o *own) sharedLog() error {
	query := o.R.URL.Query()
	given := query.Get("start")
	start, err := web.Offset(&given)
	if err != nil {
		return err
	}
	if o.R.Method == http.MethodHead { // the length is not known, a log may still grow
		o.W.Header().Set("Content-Type", web.PlainText)
		o.W.WriteHeader(http.StatusOK)
		return nil
	}
	return o.sendLog(start, false)
}

func (o *own) sharedPage(log string) error {
	e := o.entry
	v := sharedView{status: statusOf(time.Now(), e), Title: web.Displayed(e.Item.Job), Queued: e.Item.Since.UTC(), Log: log}
	if e.Build != nil {
		v.Started, v.Ended, v.Reason = e.Build.Started.UTC(), e.Build.Ended.UTC(), e.Build.Reason
		if err := o.console(&v, *e.Build); err != nil {
			return err
		}
	}
	var page bytes.Buffer
	if err := sharedPage.Execute(&page, v); err != nil {
		return fmt.Errorf("web: page of a share link: %w", err)
	}
	o.WriteBytes(http.StatusOK, web.HTMLText, page.Bytes())
	return nil
}

// console reads the end of the log. A build without one has an empty console.
func (o *own) console(v *sharedView, b queue.Build) error {
	log, err := o.ctl.Log(o.R.Context(), b.Item.Job, b.Number)
	if errors.Is(err, queue.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // only read
	size := log.Size()
	from := max(size-sharedTail, 0)
	var text strings.Builder
	if _, err := io.Copy(&web.PlainWriter{W: &text}, log.Part(from, size)); err != nil {
		return err
	}
	v.Console, v.Cut = strings.ToValidUTF8(text.String(), "\uFFFD"), from > 0
	return nil
}
