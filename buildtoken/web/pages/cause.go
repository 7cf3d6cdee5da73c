package pages

import "github.com/buildtoken/buildtoken/buildtoken/queue"

// causeView is a cause as people read it: the note first, then the rest of it.
type causeView struct {
	// Note is the text of the trigger, Text who or what it was, and Token the name of the token.
	Note, Text, Token string
	// Count is the number of triggers with this cause.
	Count int
}

func causeOf(c queue.Cause) causeView {
	view := causeView{Note: c.Note, Token: c.Token, Count: c.Count}
	c.Noted = false
	view.Text = c.String()
	return view
}

// causesView is why there is an item or a build.
type causesView struct {
	Causes []causeView
	// More counts the triggers that are not among the causes.
	More int
}

func causesOf(it queue.Item) causesView {
	view := causesView{More: it.MoreCauses}
	for _, c := range it.Causes {
		view.Causes = append(view.Causes, causeOf(c))
	}
	return view
}

// firstCause is a cause for a row: the first one, and how many triggers there are besides it.
type firstCause struct {
	causeView
	More int
}

func firstCauseOf(it queue.Item) firstCause {
	first := firstCause{More: it.Triggers() - 1}
	if len(it.Causes) > 0 {
		first.causeView = causeOf(it.Causes[0])
	}
	return first
}
