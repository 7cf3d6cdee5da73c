package job_test

import (
	"fmt"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func ExampleTree() {
	tree, err := job.NewTree([]job.Job{
		{FullName: "team/app/deploy", Params: []job.Param{
			{Name: "STAGE", Kind: job.KindChoice, Choices: []string{"dev", "prod"}},
			{Name: "DRY_RUN", Kind: job.KindBoolean, Default: "true"},
		}},
		{FullName: "team/app/test"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	folder, _ := tree.Folder("team/app")
	fmt.Println(folder.Jobs)

	full, err := job.ParseFullName("/team/app/deploy/")
	if err != nil {
		fmt.Println(err)
		return
	}
	deploy, _ := tree.Job(full)
	values, err := deploy.Values(map[string][]string{"STAGE": {"prod"}}, nil)
	fmt.Println(values, err)

	_, err = deploy.Values(map[string][]string{"STAGE": {"moon"}}, nil)
	fmt.Println(err)
	// Output:
	// [team/app/deploy team/app/test]
	// [STAGE=prod DRY_RUN=true] <nil>
	// job: bad value: illegal choice for parameter STAGE, choose one of: dev, prod
}

func ExampleParseDelay() {
	for _, s := range []string{"1500", "5sec", "2m", "-1", "soon"} {
		fmt.Println(job.ParseDelay(s))
	}
	// Output:
	// 1.5s <nil>
	// 5s <nil>
	// 2m0s <nil>
	// 0s <nil>
	// 0s job: bad delay "soon": want milliseconds, 5sec, 90s or 5m
}
