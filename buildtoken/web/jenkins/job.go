package jenkins

import (
	"errors"
	"net/http"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// serveJob is for a job or folder and what is below it. full is "" if no job
// can have such a name.
func (r *reader) serveJob(full string, rest []string) {
	tree := r.api.Definition.Tree()
	j, isJob := tree.Job(full)
	_, isFolder := tree.Folder(full)
	isFolder = isFolder && full != ""
	// Who may stop builds need not be one who may look at them.
	stops := len(rest) == 2 && rest[1] == "stop" && r.mayStop(full)
	switch {
	case stops, r.mayRead(r.by, full), isFolder && r.mayReadSome(full):
	default:
		r.fail(errForbidden)
		return
	}
	switch {
	case isJob:
		r.serveTheJob(j, rest)
	case !isFolder:
		r.fail(errNotFound)
	case len(rest) == 0:
		r.page("")
	default:
		r.export(rest, func(v *view) object { return v.folder(full) })
	}
}

func (r *reader) mayStop(full string) bool {
	return r.api.Definition.May(r.r.Context(), r.by, definition.Stop, full)
}

func (r *reader) serveTheJob(j *job.Job, rest []string) {
	switch {
	case len(rest) == 0:
		r.page("")
	case rest[0] == "api":
		r.export(rest, func(v *view) object { return v.theJob(j) })
	case rest[0] == "pollingLog" && len(rest) == 1, rest[0] == "scmPollLog" && len(rest) <= 2:
		r.pollLog(j)
	default:
		r.serveBuild(j, rest)
	}
}

// serveBuild is for a build and what is below it.
func (r *reader) serveBuild(j *job.Job, rest []string) {
	ctl, ok := r.controller()
	if !ok {
		return
	}
	b, err := r.find(ctl, j, rest[0])
	if err != nil {
		r.fail(err)
		return
	}
	sub := path{segments: rest[1:]}
	switch {
	case sub.at(0) == "":
		r.page("")
	case sub.at(0) == "api":
		r.export(sub.segments, func(v *view) object { return v.build(b) })
	case sub.at(0) == "logText" && len(sub.segments) == 2 && sub.at(1) == "progressiveText":
		r.progressive(ctl, b, plainText, crlf)
	case sub.at(0) == "logText" && len(sub.segments) == 2 && sub.at(1) == "progressiveHtml":
		r.progressive(ctl, b, "text/html; charset=utf-8", crlfHTML)
	case len(sub.segments) > 1:
		r.fail(errNotFound)
	case sub.at(0) == "buildNumber":
		r.page(numberText(b))
	case sub.at(0) == "consoleText":
		r.consoleText(ctl, b)
	case sub.at(0) == "stop":
		r.stop(ctl, b)
	default:
		r.fail(errNotFound)
	}
}

// stop asks for the build to be stopped. One that has ended is as good as stopped.
func (r *reader) stop(ctl *buildtoken.Controller, b queue.Build) {
	if !r.mutating() {
		return
	}
	full := b.Item.Job
	if !r.mayStop(full) {
		r.fail(errForbidden)
		return
	}
	err := ctl.StopBuild(r.r.Context(), full, b.Number, r.who())
	if err != nil && !errors.Is(err, queue.ErrNotRunning) {
		r.fail(err)
		return
	}
	r.redirect(r.view(ctl).buildURL(full, b.Number))
}

// who is the caller as records of cancellations have it.
func (r *reader) who() string {
	if r.by.User == "" {
		return "anonymous"
	}
	return "user " + r.by.User
}

// mutating answers 405 to everything but POST, and 403 to a POST that another
// site made a browser send.
func (r *reader) mutating() bool {
	if r.r.Method != http.MethodPost && !r.mayReadSome("") {
		r.fail(errForbidden)
		return false
	}
	if !r.allowed(http.MethodPost) {
		return false
	}
	if r.crossSite() {
		r.fail(errCrossSite)
		return false
	}
	return true
}

// redirect sends the client on, with the status that Jenkins has after such a POST.
func (r *reader) redirect(to string) {
	r.w.Header().Set("Location", to)
	r.write(http.StatusFound, plainText, "")
}

// cancelItem takes an item out of the queue, and answers with the status that
// clients of the endpoint take for success.
func (r *reader) cancelItem(id string, success int) {
	ctl, ok := r.controller()
	if !ok {
		return
	}
	entry, err := r.entry(ctl, id)
	switch {
	case err == nil && r.mayStop(entry.Item.Job):
		err = ctl.Cancel(r.r.Context(), entry.Item.Job, entry.Item.ID, r.who())
	case err == nil && r.mayRead(r.by, entry.Item.Job), !r.mayStop("") && !r.mayReadSome(""):
		err = errForbidden
	case err == nil: // to who may not read it, it looks like one that is not there
		err = errNotFound
	}
	switch {
	case err != nil:
		r.fail(err)
	case success == http.StatusFound:
		r.redirect(r.api.Root(r.r) + "queue/")
	default:
		r.w.WriteHeader(success)
	}
}
