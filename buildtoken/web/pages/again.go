package pages

import (
	"slices"
	"strconv"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// againOf is the hidden field with the number of the build that is done again. No
// parameter can have this name.
const againOf = "again-of"

// likeForm is the form with the values of the build that `like` in the URL names. If there
// is no such build, it is the fresh form, with a note.
func (v *visit) likeForm(j *job.Job) (*formView, error) {
	form := v.freshForm(j)
	query := v.R.URL.Query()
	if !query.Has("like") || j.Disabled {
		return form, nil
	}
	const absent = " is not on record, so the form has the defaults."
	number, ok := web.Number(query.Get("like"))
	if !ok {
		form.Note = "Such a build" + absent
		return form, nil
	}
	b, err := v.ctl.Build(v.R.Context(), j.FullName, number)
	if missing(err) {
		form.Note = "Build #" + strconv.FormatInt(number, 10) + absent
		return form, nil
	}
	if err != nil {
		return nil, err
	}
	form.like(j, b, v.ctl.TypedPassword)
	form.Defaults = web.JobURL(v.base, j.FullName)
	return form, nil
}

// like puts the values of a build into the form. Passwords and files are not there: those
// that the build had must be entered again. typed reports whether a password is one that a
// caller sent.
func (f *formView) like(j *job.Job, b queue.Build, typed func(*job.Job, queue.Value) bool) {
	f.Like = b.Number
	f.Note = "With the values of build #" + strconv.FormatInt(b.Number, 10) + "."
	for i, p := range j.Params {
		at := &f.Fields[i]
		had := slices.IndexFunc(b.Item.Values, func(v queue.Value) bool { return v.Name == p.Name })
		if had < 0 {
			continue
		}
		value := b.Item.Values[had]
		secret := value.Kind == string(job.KindPassword) || value.Kind == string(job.KindFile)
		switch p.Kind {
		case job.KindPassword:
			at.Again = value.Kind == string(p.Kind) && typed(j, value)
		case job.KindFile:
			at.Again = value.Kind == string(p.Kind) && value.Ref != ""
		case job.KindBoolean:
			if !secret {
				at.Checked = value.Text == "true"
			}
		case job.KindChoice:
			if !secret && slices.Contains(p.Choices, value.Text) {
				at.Value = value.Text
			} else {
				at.Problem = "What the build had is no longer a choice."
			}
		case job.KindString, job.KindText:
			if secret {
				continue // the parameter had another kind then
			}
			at.Value = value.Text
			if strings.Contains(value.Text, "\n") {
				at.Kind = job.KindText // a field of one line would drop the line ends
			}
		}
		if at.Again {
			f.Again = append(f.Again, p.Name)
		}
	}
}

// noteOf returns the text of the cause: the number of the build that is repeated, if any, and
// the text that the user of the form wrote.
func (f *formView) noteOf() string {
	if f.Like == 0 {
		return f.Cause
	}
	text := "again, of #" + strconv.FormatInt(f.Like, 10)
	if f.Cause != "" {
		text += ": " + f.Cause
	}
	return text
}

// againURL is where the form is filled as a build was; "" if the caller may not start one.
func (v *visit) againURL(j *job.Job, number int64) string {
	if j.Disabled || !v.May(definition.Start, j.FullName) {
		return ""
	}
	return web.JobURL(v.base, j.FullName) + "?like=" + strconv.FormatInt(number, 10)
}
