package pages

import (
	"net/http"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// failure is an error as a page shows it.
type failure struct {
	Title, Text, Help string
	// Home is where to go on, "" if there is nothing for the caller.
	Home string
	// Back is the address of the page without the malformed query, or "".
	Back string
}

// failureOf returns the failure that a page shows for a verdict.
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

// notFoundHelp returns what a caller can do who expected that the page exists.
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

// noAccess returns what a page shows to a caller without access, and what the caller can do.
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
