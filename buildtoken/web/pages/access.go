package pages

import (
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
)

func (v *visit) may(right definition.Right, full string) bool {
	return v.p.Definition.May(v.r.Context(), v.by, right, full)
}

// mayReadSome says whether the caller may read anything of the site.
func (v *visit) mayReadSome() bool {
	return v.may(definition.Read, "") || len(v.readable("")) > 0
}

// readable are the full names of the jobs in a folder, at any depth, that the
// caller may read, sorted.
func (v *visit) readable(folder string) []string {
	var all []string
	for _, j := range v.p.Definition.Tree().Jobs() {
		if within(j.FullName, folder) && v.may(definition.Read, j.FullName) {
			all = append(all, j.FullName)
		}
	}
	return all
}

// within says whether a full name stands in a folder, at any depth.
func within(full, folder string) bool {
	return folder == "" || strings.HasPrefix(full, folder+"/")
}

// who is how records name the caller, as in "user alice".
func (v *visit) who() string {
	if v.by.User == "" {
		return "somebody without an account"
	}
	return "user " + v.by.User
}
