package policy_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

func Example() {
	env, err := policy.NewEnv()
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := env.Compile([]policy.Rule{
		{Name: "team allow 1", Source: `now.getHours() >= 8 && now.getHours() < 18`},
		{Name: "team/app allow 1", Source: `params.ENV in ["staging", "production"]`},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, env := range []string{"staging", "test"} {
		fmt.Println(p.Decide(context.Background(), &policy.Input{
			Job:    policy.JobOf("team/app"),
			Params: map[string]string{"ENV": env},
			Now:    time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC),
		}))
	}
	// Output:
	// <nil>
	// policy: denied by team/app allow 1
}

func ExampleEnv_Compile() {
	env, err := policy.NewEnv()
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = env.Compile([]policy.Rule{{Name: "team/app allow 1", Source: `token.nmae == "ci"`}})
	fmt.Println(err)
	// Output:
	// policy: bad rule: team/app allow 1: 1:6: undefined field 'nmae' in `token.nmae == "ci"`
}

func ExampleCase_Run() {
	c, err := policy.ParseCase(strings.NewReader(`
rule team/app allow 1
    params.ENV in ["staging", "production"]

> params.ENV=staging
allowed
> params.ENV=test
allowed
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Run(context.Background()))
	// Output:
	// line 7: got "denied by team/app allow 1", want "allowed"
	//     team/app allow 1: false; params.ENV = "test"
}
