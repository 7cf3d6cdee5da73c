package pages

import (
	"errors"
	"net/http"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// start starts a build with the values of the form on a job's page.
func (v *visit) start(full string) error {
	if !v.May(definition.Start, full) {
		return web.ErrForbidden
	}
	j, ok := v.Definition.Job(full)
	if !ok {
		return web.ErrNotFound
	}
	in, err := v.ReadForm(web.FormOptions{BodyOnly: true, NamedInPath: true, Large: func(*web.Form) bool { return j.TakesFiles() }})
	if err != nil {
		return err
	}
	defer in.Close()
	form := v.freshForm(j)
	form.Delay, form.Cause = strings.TrimSpace(in.Text("delay")), strings.TrimSpace(in.Text("cause"))
	form.Like, _ = web.Number(in.Text(againOf))
	t := buildtoken.Trigger{
		Caller: v.Caller(), Action: buildtoken.BuildWithParameters, Job: full, Root: v.Root(),
		Values: given(j, in.Values()), Files: in.Uploads(true), AnyKind: true, UserMayTrigger: true,
	}
	if form.refill(j, t.Values, t.Files) {
		return v.again(j, form, http.StatusBadRequest)
	}
	if form.Delay != "" {
		t.Delay = &form.Delay
	}
	if note := form.noteOf(); note != "" {
		t.Cause = &note
	}
	out, err := v.ctl.Trigger(v.R.Context(), v.Definition, t)
	if err == nil {
		v.redirect(web.ItemURL(v.base, out.Item.ID))
		return nil
	}
	return v.refused(j, form, err)
}

// refused shows the form again, with why nothing came of it.
func (v *visit) refused(j *job.Job, form *formView, err error) error {
	switch {
	case errors.Is(err, runner.ErrTooLarge), errors.Is(err, runner.ErrBadValue):
		_, form.Problem, _ = strings.Cut(err.Error(), ": ")
		return v.again(j, form, http.StatusBadRequest)
	case errors.Is(err, policy.ErrDenied), errors.Is(err, definition.ErrNotBuildable), errors.Is(err, queue.ErrFull),
		errors.Is(err, queue.ErrStorage), errors.Is(err, buildtoken.ErrUpload), errors.Is(err, buildtoken.ErrShuttingDown):
		verdict := v.Refuse(err)
		f := v.failureOf(verdict)
		form.Problem = f.Text + " " + f.Help
		return v.again(j, form, verdict.Status)
	}
	return err
}

// again answers with the job's page, or with the failure alone if the caller may start
// builds but not see them.
func (v *visit) again(j *job.Job, form *formView, status int) error {
	pg, err := v.job(j, form)
	if errors.Is(err, web.ErrForbidden) {
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

// cancel takes an item out of the queue.
func (v *visit) cancel(id int64) error {
	entry, err := v.readableEntry(id)
	if err != nil {
		return err
	}
	if !v.May(definition.Stop, entry.Item.Job) {
		return v.RefuseCancel(v.ctl, entry.Item.Job, id)
	}
	err = v.Cancel(v.ctl, entry.Item.Job, id, v.Who())
	if err != nil && !errors.Is(err, queue.ErrLeft) { // its page shows whether it was started or cancelled
		return err
	}
	v.redirect(web.ItemURL(v.base, id))
	return nil
}

// stop requests that a running build is stopped.
func (v *visit) stop(full string, number int64) error {
	if !v.May(definition.Stop, full) {
		return v.RefuseStop(v.ctl, full, number)
	}
	if _, ok := v.Definition.Job(full); !ok {
		return web.ErrNotFound
	}
	err := v.StopBuild(v.ctl, full, number, v.Who())
	if err != nil && !errors.Is(err, queue.ErrNotRunning) { // it has ended; its page shows how
		return err
	}
	v.redirect(web.BuildURL(v.base, full, number))
	return nil
}
