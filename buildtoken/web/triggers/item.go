package triggers

import (
	"net/http"
	"strconv"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// serveItem answers a client that has followed the redirect of its trigger to the item. Such
// clients send their headers again, and with them the token. It reports false without a
// token in a header that opens the item's job: what the item's URL shows is then for users.
func serveItem(q *web.Request, id string) (handled bool) {
	if q.R.Method != http.MethodGet && q.R.Method != http.MethodHead {
		return false
	}
	by := q.Caller()
	if by.Secret, by.Presented = web.HeaderToken(q.R.Header, by.User != ""); !by.Presented {
		return false
	}
	if q.Early() {
		defer q.Begin().End()
		q.Fail(web.ErrTooEarly)
		return true
	}
	ctl, err := q.Controller()
	if err != nil {
		return false
	}
	// Without an item the job is "", which no token opens: the answer is the same.
	entry, _ := q.Entry(ctl, id)
	_, opened, err := ctl.Opens(q.R.Context(), q.Definition, entry.Item.Job, by, token.Any)
	if err != nil {
		return false
	}
	defer q.Begin().End()
	text := "queued as item " + strconv.FormatInt(entry.Item.ID, 10)
	if opened.Grants.Has(token.Status) {
		text += ", " + itemState(q, entry)
	}
	q.Write(http.StatusOK, web.PlainText, text+"\n")
	return true
}

// itemState returns in words how an item is doing.
func itemState(q *web.Request, e queue.Entry) string {
	text := web.State(e)
	if why := web.WhyNow(q.Now, e, ""); why != "" {
		return text + ": " + why
	}
	if e.Build != nil {
		text += " as build " + strconv.FormatInt(e.Build.Number, 10)
		if !e.Build.Running() {
			text += ": " + string(e.Build.Result)
		}
	}
	return text
}
