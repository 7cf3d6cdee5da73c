package triggers

import (
	"net/http"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Serve answers the request if it is one for callers with a token, and reports whether
// it was. It answers completely, errors too.
func Serve(q *web.Request) (handled bool) {
	if q.Path.Dotted() {
		return false
	}
	if q.Path.At(0) == web.ByToken {
		defer q.Begin().End()
		serveByToken(q)
		return true
	}
	if q.Path.Len() == 3 && q.Path.At(0) == "queue" && q.Path.At(1) == "item" {
		return serveItem(q, q.Path.At(2))
	}
	full, rest := q.Path.Job()
	if full == "" || !rest.Is("build") && !rest.Is("buildWithParameters") {
		return false // Jenkins' remote API has the answer to names that no job has
	}
	defer q.Begin().End()
	serveJobURL(q, full, buildtoken.Action(rest.At(0)))
	return true
}

func serveByToken(q *web.Request) {
	if q.Path.At(1) == "shared" {
		if err := serveShared(q); err != nil {
			q.Fail(err)
		}
		return
	}
	action, ok := q.Path.Action()
	if !ok {
		q.Fail(web.ErrNotFound)
		return
	}
	var err error
	switch action {
	case "build", "buildWithParameters", "polling":
		err = (&trigger{Request: q}).serve(buildtoken.Trigger{Action: buildtoken.Action(action)})
	case "status":
		err = ownStatus(q)
	case "log":
		err = ownLog(q)
	case "cancel":
		err = ownCancel(q)
	default:
		err = web.ErrNotFound
	}
	if err != nil {
		q.Fail(err)
	}
}

// serveJobURL serves the trigger at a job's own URL, as in Jenkins. With a token it
// accepts the methods of any trigger, without one only POST, whether or not there is
// such a job.
func serveJobURL(q *web.Request, full string, action buildtoken.Action) {
	t := &trigger{Request: q, atJob: true}
	err := t.serve(buildtoken.Trigger{Action: action, Job: full, AnyKind: true, UserMayTrigger: true})
	if err != nil {
		q.Fail(err)
	}
}

// needsPost reports a trigger without a token that is not POST.
func needsPost(q *web.Request, presented bool) error {
	if presented || q.R.Method == http.MethodPost {
		return nil
	}
	return &web.MethodError{Allow: []string{http.MethodPost}}
}
