package pages

import (
	"net/http"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// failure is what people learn of an error.
type failure struct {
	Title, Text, Help string
	// Home is where to go on, "" if there is nothing for the caller.
	Home string
	// Back leads to the page without what is wrong with its address, or is "".
	Back string
}

// failureOf turns what programs learn of an error into what people learn of it.
func (v *visit) failureOf(verdict web.Verdict) failure {
	f := failure{Title: verdict.Title, Text: sentence(verdict.Text), Help: verdict.Help}
	switch verdict.Status {
	case http.StatusForbidden:
		if f.Help == "" {
			f.Text, f.Help = v.noAccess()
		}
	case http.StatusNotFound:
		f.Text = "There is nothing here, or no longer: the oldest builds of a job are dropped."
		f.Help = v.notFoundHelp()
	case http.StatusBadRequest:
		if v.R.Method != http.MethodPost {
			f.Help = "Correct the address, or open the page without what follows the question mark."
			f.Back = "?"
		}
	case http.StatusMethodNotAllowed:
		f.Text = "This address does not answer such requests."
	}
	if v.MayReadSome("") {
		f.Home = v.base
	}
	return f
}

// notFoundHelp explains what a caller who expected something can do.
func (v *visit) notFoundHelp() string {
	switch {
	case v.User() != "":
		return "If you expected a job, it may also be one that your account may not see. You are signed in as " + v.User() + "."
	case v.HasAccounts():
		return "If you expected a job, it may also be one that only users may see. You are not signed in: sign in and come back to this page."
	}
	return "If you expected a job, it may also be one that callers without an account may not see."
}

// mayNotStart explains to a reader of a job why there is no form that starts a build.
func (v *visit) mayNotStart() string {
	const rule = " The rule build in the access block of the configuration decides who may; without one, only tokens start builds."
	switch {
	case v.User() != "":
		return "Your account may look at this job, but not start builds." + rule
	case v.HasAccounts():
		return "Sign in to start builds, with an account that may."
	}
	return "Nobody is signed in, and callers without an account may not start builds." + rule
}

// noAccess explains what a caller without access can do about it.
func (v *visit) noAccess() (text, help string) {
	switch {
	case v.User() != "":
		return "Your account may not see or do this, or it does not exist.",
			"You are signed in as " + v.User() + ". The access block of the configuration decides what an account may do: ask whoever runs this server."
	case v.HasAccounts():
		return "You may not see or do this without an account, or it does not exist.",
			"You are not signed in. Sign in and come back to this page."
	}
	return "You may not see or do this, or it does not exist.",
		"You are not signed in, and nobody has signed in here since the server was started, so this site may have no login. " +
			"Whoever runs the server can put one in front, such as basic_auth, or open pages to everybody in the access block of the configuration."
}

// sentence returns a line for programs as a sentence.
func sentence(line string) string {
	if line == "" {
		return ""
	}
	return strings.ToUpper(line[:1]) + line[1:] + "."
}

// fail answers an error with a page.
func (v *visit) fail(err error) {
	verdict := v.Refuse(err)
	f := v.failureOf(verdict)
	v.write(&page{Title: f.Title, Name: "failure", status: verdict.Status, Regions: []region{{Name: "failure", Static: true, Data: f}}})
}
