package pages

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// Limits of a form, in bytes; they are those of the endpoints for machines.
const (
	maxForm       = 1 << 20
	maxUploadForm = 32 << 20
	maxInMemory   = 1 << 20
)

// sent is what a form brought.
type sent struct {
	values map[string][]string
	files  map[string][]*multipart.FileHeader
}

func (s sent) first(name string) string {
	if all := s.values[name]; len(all) > 0 {
		return all[0]
	}
	return ""
}

// read reads the body of a form; the query counts for nothing here. The
// caller calls done, also after an error.
func (v *visit) read(limit int64) (s sent, done func(), err error) {
	done = func() {
		if v.r.MultipartForm != nil {
			_ = v.r.MultipartForm.RemoveAll() // what can't be removed is the system's to sweep
		}
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, limit)
	kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "multipart/form-data":
		if err = v.r.ParseMultipartForm(maxInMemory); err == nil {
			s = sent{v.r.MultipartForm.Value, v.r.MultipartForm.File}
		}
	case err == nil && kind == "application/x-www-form-urlencoded":
		if err = v.r.ParseForm(); err == nil {
			s = sent{values: v.r.PostForm}
		}
	case v.r.ContentLength == 0: // a button has nothing to say
		err = nil
	default:
		err = errMalformed
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		v.w.Header().Set("Connection", "close") // what is left of the body is not worth reading
		return s, done, errTooLarge
	}
	if err != nil {
		return s, done, errMalformed
	}
	return s, done, nil
}

// start starts a build with what the form of a job's page brought.
func (v *visit) start(full string) error {
	if !v.may(definition.Start, full) {
		return errHidden
	}
	j, ok := v.p.Definition.Job(full)
	if !ok {
		return errMissing
	}
	limit := int64(maxForm)
	if slices.ContainsFunc(j.Params, func(p job.Param) bool { return p.Kind == job.KindFile }) {
		limit = maxUploadForm
	}
	in, done, err := v.read(limit)
	defer done()
	if err != nil {
		return err
	}
	form := v.freshForm(j)
	form.Delay, form.Cause = strings.TrimSpace(in.first("delay")), strings.TrimSpace(in.first("cause"))
	t := buildtoken.Trigger{
		Caller: v.by, Action: buildtoken.BuildWithParameters, Job: full, Root: v.root,
		Values: given(j, in.values), Files: uploads(in.files), AnyKind: true, UserMayTrigger: true,
	}
	if form.refill(j, t.Values) {
		return v.again(full, form, http.StatusBadRequest)
	}
	if form.Delay != "" {
		t.Delay = &form.Delay
	}
	if form.Cause != "" {
		t.Cause = &form.Cause
	}
	out, err := v.ctl.Trigger(v.r.Context(), v.p.Definition, t)
	if err == nil {
		v.redirect(itemURL(v.base, out.Item.ID))
		return nil
	}
	return v.refused(full, form, err)
}

// refused shows the form again, with why nothing came of it.
func (v *visit) refused(full string, form *formView, err error) error {
	switch {
	case errors.Is(err, job.ErrValue):
		form.Problem = problemText(err)
		return v.again(full, form, http.StatusBadRequest)
	case errors.Is(err, runner.ErrTooLarge), errors.Is(err, runner.ErrBadValue):
		_, form.Problem, _ = strings.Cut(err.Error(), ": ")
		return v.again(full, form, http.StatusBadRequest)
	case errors.Is(err, policy.ErrDenied), errors.Is(err, buildtoken.ErrNotBuildable), errors.Is(err, queue.ErrFull),
		errors.Is(err, queue.ErrStorage), errors.Is(err, buildtoken.ErrUpload), errors.Is(err, buildtoken.ErrShuttingDown):
		f := failureOf(err)
		form.Problem = f.Text
		return v.again(full, form, f.status)
	}
	return err
}

// again answers with the job's page, or with the failure alone for who may
// start builds and not see them.
func (v *visit) again(full string, form *formView, status int) error {
	pg, err := v.job(full, form)
	if errors.Is(err, errHidden) {
		v.write(&page{Title: "Not queued", Name: "failure", status: status, Regions: []region{
			{Name: "failure", Static: true, Data: failure{Title: "Not queued", Text: form.Problem, Home: v.base}},
		}})
		return nil
	}
	if err != nil {
		return err
	}
	pg.status = status
	v.write(pg)
	return nil
}

// uploads are the files of a form. One that was not chosen has no name, and is none.
func uploads(files map[string][]*multipart.FileHeader) map[string]buildtoken.Upload {
	all := map[string]buildtoken.Upload{}
	for name, headers := range files {
		if len(headers) == 0 || headers[0].Filename == "" {
			continue
		}
		header := headers[0]
		all[name] = buildtoken.Upload{
			Name: header.Filename, Size: header.Size,
			Open: func() (io.ReadCloser, error) { return header.Open() },
		}
	}
	return all
}

// cancel takes an item out of the queue.
func (v *visit) cancel(id int64) error {
	entry, err := v.readableEntry(id)
	if err != nil {
		return err
	}
	if !v.may(definition.Stop, entry.Item.Job) {
		return errHidden
	}
	err = v.ctl.Cancel(v.r.Context(), entry.Item.Job, id, v.who())
	if err != nil && !errors.Is(err, queue.ErrLeft) { // then its page says what became of it
		return err
	}
	v.redirect(itemURL(v.base, id))
	return nil
}

// stop asks for a running build to be stopped.
func (v *visit) stop(full string, number int64) error {
	if !v.may(definition.Stop, full) {
		return errHidden
	}
	if _, ok := v.p.Definition.Job(full); !ok {
		return errMissing
	}
	err := v.ctl.StopBuild(v.r.Context(), full, number, v.who())
	if err != nil && !errors.Is(err, queue.ErrNotRunning) { // it has ended; its page says how
		return err
	}
	v.redirect(buildURL(v.base, full, number))
	return nil
}
