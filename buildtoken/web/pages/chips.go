package pages

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Limits of the values in a row of a list.
const (
	chipsShown = 6   // values in a row
	chipRunes  = 40  // characters of a value
	noteRunes  = 120 // characters of a note at the top of a page
	commitText = 10  // characters of a commit
)

// chipsView are the values that tell an item of a list from others.
type chipsView struct {
	Chips []chip
	// More counts those that are not shown.
	More int
}

// chip is a parameter value in a list, in short.
type chip struct {
	Name, Text string
	// Whole is the whole value if Text is only a part of it.
	Whole string
	// URL is where the configuration links the value to, or "".
	URL string
	// Was is the value of the build before; nil if that is the same or not known.
	Was *was
}

// was is the value of a parameter in the build before, shortened.
type was struct{ Text string }

// differing returns, for each item of one job, the values of the parameters that do not have
// the same value in all of them. A single item is compared with the defaults.
func (v *visit) differing(items []queue.Item) []chipsView {
	all := make([]chipsView, len(items))
	if len(items) == 1 {
		all[0] = v.unusual(items[0])
		return all
	}
	differs := map[string]bool{}
	for _, it := range items {
		for _, value := range it.Values {
			differs[value.Name] = differs[value.Name] || slices.ContainsFunc(items, func(other queue.Item) bool {
				return textOf(other, value.Name) != value.Text
			})
		}
	}
	for i, it := range items {
		all[i] = v.chips(it, func(value queue.Value) bool { return differs[value.Name] })
	}
	return all
}

// textOf is the value of a parameter of an item; "" if it has none.
func textOf(it queue.Item, name string) string {
	for _, value := range it.Values {
		if value.Name == name {
			return value.Text
		}
	}
	return ""
}

// changes returns the values of the build before, by the names of the parameters that have
// another value now. No password is among them. A file that was not there before is one; the
// content of files is not compared.
func changes(it queue.Item, before *queue.Build) map[string]*was {
	all := map[string]*was{}
	if before == nil {
		return all
	}
	for _, value := range it.Values {
		i := slices.IndexFunc(before.Item.Values, func(old queue.Value) bool { return old.Name == value.Name })
		switch {
		case i < 0 && value.Kind == string(job.KindFile):
			all[value.Name] = &was{}
		case i < 0, value.Kind == string(job.KindPassword), value.Kind != before.Item.Values[i].Kind, value.Text == before.Item.Values[i].Text:
		default:
			all[value.Name] = &was{brief(before.Item.Values[i].Text)}
		}
	}
	return all
}

// notable returns the values of a build that are not the defaults of the job or not those of
// the build before.
func (v *visit) notable(it queue.Item, before map[string]*was) chipsView {
	unusual := v.isUnusual(it.Job)
	view := v.chips(it, func(value queue.Value) bool { return before[value.Name] != nil || unusual(value) })
	for i := range view.Chips {
		view.Chips[i].Was = before[view.Chips[i].Name]
	}
	return view
}

// unusual returns the values of an item that are not the defaults of the job.
func (v *visit) unusual(it queue.Item) chipsView { return v.chips(it, v.isUnusual(it.Job)) }

// isUnusual returns a function that reports whether a value is not the default of a job.
func (v *visit) isUnusual(full string) func(queue.Value) bool {
	j, _ := v.Definition.Job(full)
	return func(value queue.Value) bool {
		p, ok := paramOf(j, value)
		if !ok {
			return true
		}
		return defaultOf(p) != value.Text
	}
}

// chips returns the values of an item that are to be shown. No password is among them.
func (v *visit) chips(it queue.Item, show func(queue.Value) bool) chipsView {
	var view chipsView
	j, _ := v.Definition.Job(it.Job)
	for _, value := range it.Values {
		switch {
		case value.Kind == string(job.KindPassword) || !show(value):
			continue
		case len(view.Chips) == chipsShown:
			view.More++
			continue
		}
		one := chip{Name: value.Name, Text: brief(value.Text)}
		if one.Text != value.Text {
			one.Whole = value.Text[:min(len(value.Text), textShown)]
		}
		if p, ok := paramOf(j, value); ok && len(value.Text) <= textShown {
			one.URL = p.URL(value.Text)
		}
		view.Chips = append(view.Chips, one)
	}
	return view
}

// paramOf returns the parameter of a job that a value is for, if the job still has it.
func paramOf(j *job.Job, value queue.Value) (job.Param, bool) {
	if j == nil {
		return job.Param{}, false
	}
	i := slices.IndexFunc(j.Params, func(p job.Param) bool { return p.Name == value.Name && string(p.Kind) == value.Kind })
	if i < 0 {
		return job.Param{}, false
	}
	return j.Params[i], true
}

// brief shortens a value for a list: a commit to its first characters, a text to its first
// line.
func brief(text string) string {
	if isCommit(text) {
		return text[:commitText]
	}
	return shortened(text, chipRunes)
}

// shortened returns the first line of a text, at most some characters of it.
func shortened(text string, runes int) string {
	line, _, more := strings.Cut(strings.TrimRight(text, "\r\n"), "\n")
	switch {
	case utf8.RuneCountInString(line) > runes:
		return string([]rune(line)[:runes-1]) + "…"
	case more:
		return line + "…"
	}
	return line
}

// isCommit reports whether a text is the digest of a commit, SHA-1 or SHA-256.
func isCommit(text string) bool {
	return (len(text) == 40 || len(text) == 64) && strings.Trim(text, "0123456789abcdef") == ""
}
