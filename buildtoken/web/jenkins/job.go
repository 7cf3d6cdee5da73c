package jenkins

import (
	"errors"
	"strconv"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// serveJob serves a job or folder and what is below it. full is "" if no job can have
// such a name.
func (r *reader) serveJob(full string, rest web.Path) error {
	tree := r.Definition.Tree()
	j, isJob := tree.Job(full)
	_, isFolder := tree.Folder(full)
	isFolder = isFolder && full != ""
	// A caller who may stop builds does not need the right to see them.
	stops := rest.Len() == 2 && rest.At(1) == "stop" && r.mayStop(full)
	if !stops && !r.MayRead(full) && (!isFolder || !r.MayReadSome(full)) {
		return web.ErrForbidden
	}
	switch {
	case isJob:
		return r.serveTheJob(j, rest)
	case !isFolder:
		return web.ErrNotFound
	case rest.Len() == 0:
		return r.page("")
	}
	return r.export(rest, func(v *view) object { return v.folder(full) })
}

func (r *reader) mayStop(full string) bool { return r.May(definition.Stop, full) }

func (r *reader) serveTheJob(j *job.Job, rest web.Path) error {
	switch {
	case rest.Len() == 0:
		return r.page("")
	case rest.At(0) == "api":
		return r.export(rest, func(v *view) object { return v.theJob(j) })
	case rest.Is("pollingLog"), rest.Is("scmPollLog"), rest.Len() == 2 && rest.At(0) == "scmPollLog":
		return r.pollLog(j)
	}
	return r.serveBuild(j, rest)
}

// serveBuild serves a build and what is below it.
func (r *reader) serveBuild(j *job.Job, rest web.Path) error {
	ctl, err := r.Controller()
	if err != nil {
		return err
	}
	b, err := web.FindBuild(r.R.Context(), ctl, j.FullName, rest.At(0))
	if err != nil {
		return err
	}
	sub := rest.From(1)
	switch {
	case sub.Len() == 0:
		return r.page("")
	case sub.At(0) == "api":
		return r.export(sub, func(v *view) object { return v.build(b) })
	case sub.Is("logText", "progressiveText"):
		return r.progressive(ctl, b, web.PlainText, crlf)
	case sub.Is("logText", "progressiveHtml"):
		return r.progressive(ctl, b, web.HTMLText, crlfHTML)
	case sub.Is("buildNumber"):
		return r.page(strconv.FormatInt(b.Number, 10))
	case sub.Is("consoleText"):
		return r.consoleText(ctl, b)
	case sub.Is("stop"):
		return r.stop(ctl, b)
	}
	return web.ErrNotFound
}

// stop requests that the build is stopped. One that has ended counts as stopped.
func (r *reader) stop(ctl *buildtoken.Controller, b queue.Build) error {
	if err := r.mutating(); err != nil {
		return err
	}
	full := b.Item.Job
	if !r.mayStop(full) {
		return r.RefuseStop(ctl, full, b.Number)
	}
	err := r.StopBuild(ctl, full, b.Number, r.Who())
	if err != nil && !errors.Is(err, queue.ErrNotRunning) {
		return err
	}
	r.redirect(web.BuildURL(r.Root(), full, b.Number))
	return nil
}
