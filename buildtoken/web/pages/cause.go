package pages

import (
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// causeView is a cause as people read it: the note first, then the rest of it.
type causeView struct {
	// Note is the text of the trigger, Text and then Name who or what it was, and Token the
	// name of the token.
	Note, Text, Name, Token string
	// NameURL and TokenURL list what the same user, webhook, schedule or token started; "" if
	// no page does.
	NameURL, TokenURL string
	// Count is the number of triggers with this cause.
	Count int
}

// causeOf is a cause on a page. at is the address of the list with builds of the same starter,
// "" if there is none.
func causeOf(c queue.Cause, at string) causeView {
	view := causeView{Note: c.Note, Token: c.Token, Count: c.Count}
	named, token := startersOf(c)
	view.NameURL, view.TokenURL = buildsBy(at, named), buildsBy(at, token)
	c.Noted = false
	view.Text = c.String()
	view.Name = named.word() // only this is a link, not the sentence around it
	view.Text = strings.TrimSuffix(view.Text, view.Name)
	return view
}

// causesView is why there is an item or a build.
type causesView struct {
	Causes []causeView
	// More counts the triggers that are not among the causes.
	More int
}

func causesOf(it queue.Item, at string) causesView {
	view := causesView{More: it.MoreCauses}
	for _, c := range it.Causes {
		view.Causes = append(view.Causes, causeOf(c, at))
	}
	return view
}

// firstCause is a cause for a row, and how many triggers there are besides it.
type firstCause struct {
	causeView
	More int
}

// firstCauseOf is the first cause of an item by a starter, or its first one if there is none.
func firstCauseOf(it queue.Item, at string, by starter) firstCause {
	first := firstCause{More: it.Triggers() - 1}
	if len(it.Causes) > 0 {
		i := max(slices.IndexFunc(it.Causes, by.caused), 0)
		first.causeView = causeOf(it.Causes[i], at)
	}
	return first
}
