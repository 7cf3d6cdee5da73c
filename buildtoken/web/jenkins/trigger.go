package jenkins

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// trigger reads a trigger and hands it on. t holds what the path says: the
// action, and the job unless the request names it.
func (q *request) trigger(t buildtoken.Trigger) {
	if !q.api.mayTrigger(q.r.Method) {
		q.fail(&methodError{allow: q.api.triggering()})
		return
	}
	f, err := q.form(t.Job)
	defer f.close()
	if err != nil {
		q.fail(err)
		return
	}
	if t.Job == "" {
		t.Job = f.text("job")
	}
	if t.Job == "" {
		q.fail(errNoJob)
		return
	}
	if t.Action != buildtoken.Polling { // asking twice is asking once
		if t.Once, err = q.once(); err != nil {
			q.fail(err)
			return
		}
	}
	t.Caller = q.caller(f)
	t.Root = q.api.Root(q.r)
	t.Delay, t.Cause = f.first("delay"), f.first("cause")
	t.Values, t.Files = f.parameters(), f.uploads()
	ctl, ok := q.controller()
	if !ok {
		return
	}
	out, ok := q.submit(ctl, t)
	if !ok {
		return
	}
	wait := q.mayWait(t.Caller, out)
	t = buildtoken.Trigger{Root: t.Root, AnyKind: t.AnyKind} // what is held while waiting is small
	f.drop()
	q.seen = nil
	q.queued(t, out, q.awaitEnd(ctl, out, wait))
}

// form reads query and body. full names the job, if the path does.
func (q *request) form(full string) (*form, error) {
	f, err := readForm(q.w, q.r, func(f *form) int64 {
		if name := f.text("job"); full == "" && name != "" {
			return q.bodyLimit(name)
		}
		return q.bodyLimit(full)
	})
	if err != nil || f.size == 0 {
		return f, err
	}
	if full == "" {
		full = f.text("job") // maybe the body's, which was not known before
	}
	if limit := q.bodyLimit(full); f.size > limit {
		return f, &tooLargeError{limit}
	}
	return f, nil
}

// bodyLimit is how large a body for the job may be. As long as no job is
// known, it may be as large as for any.
func (q *request) bodyLimit(full string) int64 {
	takesFiles := false
	if full == "" {
		takesFiles = q.api.Definition.TakesFiles()
	} else if j, ok := q.api.Definition.Job(full); ok {
		takesFiles = slices.ContainsFunc(j.Params, func(p job.Param) bool { return p.Kind == job.KindFile })
	}
	if takesFiles {
		return maxUploadBody
	}
	return maxBody
}

// submit hands the trigger to the controller. It answers errors and polls, and
// says whether there is an item to tell of.
func (q *request) submit(ctl *buildtoken.Controller, t buildtoken.Trigger) (buildtoken.Outcome, bool) {
	// Without a token it is the browser's word who is asking, and a page of
	// somebody else could have made the browser ask.
	crossSite := !t.Presented && t.Post && q.crossSite()
	if crossSite {
		t.Post = false
	}
	out, err := ctl.Trigger(q.r.Context(), q.api.Definition, t)
	switch {
	case crossSite && errors.Is(err, buildtoken.ErrNeedsPost):
		q.fail(errCrossSite)
	case errors.Is(err, definition.ErrUnknownJob):
		q.unknown(t, err)
	case err != nil:
		q.fail(err)
	case t.Action == buildtoken.Polling:
		q.write(http.StatusOK, "text/html", "Scheduled.\n")
	default:
		return out, true
	}
	return out, false
}

// unknown answers that there is no such job. At a job's own URL it is only
// those who may read that learn so much; for others it looks like a token that
// is no good.
func (q *request) unknown(t buildtoken.Trigger, err error) {
	if t.UserMayTrigger && !q.mayRead(t.Caller, t.Job) {
		q.fail(token.ErrMissing)
		return
	}
	q.plain = q.plain || t.UserMayTrigger // some clients go on asking after a 404 of JSON
	q.fail(err)
}

// queued answers with the item's URL, and with how it ended if the client has
// waited for that.
func (q *request) queued(t buildtoken.Trigger, out buildtoken.Outcome, ended *queue.Entry) {
	id := strconv.FormatInt(out.Item.ID, 10)
	location := t.Root + "queue/item/" + id + "/"
	q.w.Header().Set("Location", location)
	status, became := http.StatusCreated, "queued as item "
	if !out.Created {
		became = "joined item "
		// Clients of the job's own URL can't make use of a redirection, and who has
		// waited has the answer here: most would follow, and throw it away.
		if !t.AnyKind && ended == nil {
			status = http.StatusSeeOther
		}
	}
	switch {
	case q.wantsJSON():
		o := object{{key: "id", value: out.Item.ID}, {key: "url", value: location}, {key: "created", value: out.Created}}
		if ended != nil {
			o = append(o, statusOf(time.Now(), *ended)...)
		}
		q.write(status, jsonText, encode(o, flavourJSON), "\n")
	case ended != nil:
		q.write(status, plainText, became, id, ", ", endOf(*ended), "\n")
	case q.empty:
		q.write(status, plainText)
	default:
		q.write(status, plainText, became, id, "\n")
	}
}

// parameters are the values by name, without those that mean something to us;
// nil if there are none.
func (f *form) parameters() map[string][]string {
	var all map[string][]string
	for _, p := range f.fields {
		switch p.name {
		case "job", "delay", "cause":
			continue
		}
		if all == nil {
			all = make(map[string][]string, len(f.fields))
		}
		all[p.name] = append(all[p.name], p.value)
	}
	return all
}

// uploads are the files that came along. The form must stay open until they were read.
func (f *form) uploads() map[string]buildtoken.Upload {
	if len(f.files) == 0 {
		return nil
	}
	all := make(map[string]buildtoken.Upload, len(f.files))
	for name, files := range f.files {
		file := files[0] // readForm refuses more
		all[name] = buildtoken.Upload{Name: file.Filename, Size: file.Size, Open: func() (io.ReadCloser, error) {
			content, err := file.Open()
			if err != nil {
				return nil, fmt.Errorf("jenkins: uploaded file: %w", err)
			}
			return content, nil
		}}
	}
	return all
}

// mayRead says whether the caller may read what has this full name, "" being
// what belongs to no job.
func (q *request) mayRead(by definition.Caller, full string) bool {
	return q.api.Definition.May(q.r.Context(), by, definition.Read, full)
}
