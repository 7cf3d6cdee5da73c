package definition_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// TestTokensOfEveryLevel compiles tokens at the top level, in two folders and in a job. Each
// must arrive at the job complete, the nearest first.
func TestTokensOfEveryLevel(t *testing.T) {
	day := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	at := func(level int) []definition.Token {
		name := string(rune('a' + level))
		return []definition.Token{
			{Name: name, Digest: token.NewSecret(name).Digest(), Expires: day.AddDate(0, 0, level), Grants: token.Trigger | token.Grant(1<<level)},
			{Digest: token.NewSecret(name + " forever").Digest()},
		}
	}
	site, err := definition.Compile(definition.Spec{Root: definition.Folder{
		Tokens: at(3),
		Folders: []definition.Folder{{Name: "x", Tokens: at(2), Folders: []definition.Folder{
			{Name: "y", Tokens: at(1), Jobs: []definition.Job{{Name: "app", Runner: nothing{}, Tokens: at(0)}}},
		}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := site.Find("x/y/app")
	if err != nil {
		t.Fatal(err)
	}
	var want []token.Token
	for level := range 4 {
		named, unnamed := at(level)[0], at(level)[1]
		want = append(
			want,
			token.Token{Name: named.Name, Digest: named.Digest, Expires: named.Expires, Grants: named.Grants, Level: level},
			token.Token{Name: "default", Digest: unnamed.Digest, Grants: token.Trigger, Level: level},
		)
	}
	if diff := cmp.Diff(want, slices.Collect(j.Tokens.All())); diff != "" {
		t.Errorf("tokens of x/y/app (-want +got):\n%s", diff)
	}
}
