package token_test

import (
	"fmt"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/token"
)

func ExampleSet_Check() {
	digest, err := token.ParseSecret("TacoTuesday") // or sha256:…
	if err != nil {
		fmt.Println(err)
		return
	}
	set, err := token.NewSet([]token.Token{{Name: "ci", Digest: digest, Grants: token.Trigger}})
	if err != nil {
		fmt.Println(err)
		return
	}

	presented := token.NewSecret("TacoTuesday")
	t, err := set.Check(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), presented)
	fmt.Println(presented, t.Name, t.Grants, err)

	_, err = set.Check(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), token.NewSecret("WaffleWednesday"))
	fmt.Println(err)
	// Output:
	// [redacted] ci trigger <nil>
	// token: mismatch
}
