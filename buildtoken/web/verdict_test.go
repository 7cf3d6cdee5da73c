package web_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// notFromRequests are the exported errors that never reach a client, each with the reason.
func notFromRequests() map[string]string {
	const configuration = "arises from configuration, before there are requests"
	return map[string]string{
		"definition.ErrInvalid":  configuration,
		"job.ErrBadName":         "of configuration; in a request it is wrapped in definition.ErrUnknownJob",
		"job.ErrBadParam":        configuration,
		"job.ErrDuplicate":       configuration,
		"job.ErrBadSetting":      configuration,
		"token.ErrBadName":       configuration,
		"token.ErrEmpty":         configuration,
		"token.ErrPadded":        configuration,
		"token.ErrDigest":        configuration,
		"token.ErrGrant":         configuration,
		"token.ErrDuplicate":     configuration,
		"policy.ErrBadRule":      configuration,
		"runner.ErrDetached":     "the cause with which the context of a build ends",
		"policy.ErrBadCase":      "of the command that tests rules",
		"policy.ErrBudget":       "a right that is not granted",
		"console.ErrNotFound":    "the controller makes it queue.ErrNotFound",
		"queue.RepeatedError":    "the controller answers with what it repeats",
		"vault.ErrWrongKey":      "ends a build, not a request",
		"console.ErrLive":        "of builds that were lost with their process",
		"queue.ErrInUse":         "of the command that removes old jobs",
		"buildtoken.ErrNoTarget": "of the command that tests notifications",
	}
}

// TestEveryErrorHasAStatus reads the source: each exported error must be named in verdict.go or
// in the list above.
func TestEveryErrorHasAStatus(t *testing.T) {
	source, err := os.ReadFile("verdict.go")
	if err != nil {
		t.Fatal(err)
	}
	excused := notFromRequests()
	seen := 0
	for _, folder := range []string{".", "console", "definition", "job", "policy", "queue", "runner", "token", "vault"} {
		for _, name := range exportedErrors(t, path.Join("..", folder), folder) {
			seen++
			named := regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).Match(source)
			_, is := excused[name]
			switch {
			case named && is:
				t.Errorf("%s has a status and an excuse", name)
			case !named && !is:
				t.Errorf("%s: give it a status in verdict.go, or a reason in notFromRequests", name)
			}
			delete(excused, name)
		}
	}
	for name := range excused {
		t.Errorf("%s is excused and does not exist", name)
	}
	if seen < 20 {
		t.Errorf("found only %d errors", seen)
	}
}

// exportedErrors returns the exported variables Err… and types …Error of a package, with its
// name.
func exportedErrors(t *testing.T, folder, pkg string) []string {
	t.Helper()
	if pkg == "." {
		pkg = "buildtoken"
	}
	var names []string
	entries, err := fs.Glob(os.DirFS(folder), "*.go")
	if err != nil || len(entries) == 0 {
		t.Fatal(folder, err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path.Join(folder, entry), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			general, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range general.Specs {
				switch s := s.(type) {
				case *ast.ValueSpec:
					for _, name := range s.Names {
						if general.Tok == token.VAR && strings.HasPrefix(name.Name, "Err") {
							names = append(names, pkg+"."+name.Name)
						}
					}
				case *ast.TypeSpec:
					if s.Name.IsExported() && strings.HasSuffix(s.Name.Name, "Error") {
						names = append(names, pkg+"."+s.Name.Name)
					}
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// TestUnknownErrorsShowNothing protects texts of disks and databases.
func TestUnknownErrorsShowNothing(t *testing.T) {
	if got := web.VerdictOf(fs.ErrPermission).Status; got != 500 {
		t.Errorf("status of an unknown error = %d, want 500", got)
	}
}
