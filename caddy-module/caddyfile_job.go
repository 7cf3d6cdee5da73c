package caddymodule

import (
	"fmt"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func (p parser) job(in level) error {
	args, err := arguments(p.d, "job", 1, 1)
	if err != nil {
		return err
	}
	j := Job{Name: args[0]}
	if err := p.newName(in, j.Name, "job"); err != nil {
		return err
	}
	seen, from := once{}, len(p.warnings.all)
	p.reads, p.full = new([]read), job.Join(in.full, j.Name)
	p.mark("job")
	if err := block(p.d, func(name string) error { return p.inJob(&j, seen, name) }); err != nil {
		return err
	}
	if err := p.warnings.lintReads(&j, *p.reads); err != nil {
		return err
	}
	p.warnings.name(from, p.full)
	if j.RunRaw == nil {
		return p.d.Errf("job '%s' has nothing to run: add a run or runner directive", j.Name)
	}
	if err := p.checkOn(&j); err != nil {
		return err
	}
	if err := p.checkSchedules(&j, p.full); err != nil {
		return err
	}
	in.Jobs = append(in.Jobs, j)
	return nil
}

func (p parser) inJob(j *Job, seen once, name string) error {
	if err := seen.check(p.d, name, "description", "disabled", "concurrent", "badge", "coalesce", "run", "runner", "poll"); err != nil {
		return err
	}
	switch name {
	case "description":
		return p.text(&j.Description, name)
	case "disabled":
		return p.flag(&j.Disabled, name)
	case "concurrent":
		return p.flag(&j.Concurrent, name)
	case "badge":
		return p.flag(&j.Badge, name)
	case "coalesce":
		return p.coalesce(j)
	case "param":
		return p.param(j)
	case "run", "runner":
		if j.RunRaw != nil {
			return p.d.Errf("a job can have only one of run and runner")
		}
		p.mark("run")
		if name == "runner" {
			return p.runner(&j.RunRaw)
		}
		return p.run(&j.RunRaw)
	case "poll":
		p.mark(name)
		return p.poll(&j.PollRaw)
	case "on":
		return p.on(j)
	case "schedule":
		return p.schedule(j)
	}
	ok, err := p.inScope(&j.Scope, seen, name)
	if !ok && err == nil {
		return unknown(p.d, name, fmt.Sprintf("job '%s'", j.Name))
	}
	return err
}

func (p parser) coalesce(j *Job) error {
	args, err := arguments(p.d, "coalesce", 1, 1)
	if err != nil {
		return err
	}
	j.Coalesce = job.Coalesce(args[0])
	if j.Coalesce != job.Identical && j.Coalesce != job.Never {
		return p.d.Errf("coalesce: '%s' is neither %s nor %s", args[0], job.Identical, job.Never)
	}
	return nil
}

func (p parser) param(j *Job) error {
	args, err := arguments(p.d, "param", 2, unlimited)
	if err != nil {
		return err
	}
	param := job.Param{Name: args[0], Kind: job.Kind(args[1])}
	values, most := args[2:], 1
	switch param.Kind {
	case job.KindChoice:
		param.Choices, most = values, unlimited
	case job.KindFile:
		most = 0
	case job.KindString, job.KindText, job.KindPassword, job.KindBoolean:
		if len(values) > 0 {
			param.Default = values[0]
		}
	default:
		kinds := []job.Kind{job.KindString, job.KindText, job.KindPassword, job.KindBoolean, job.KindChoice, job.KindFile}
		return p.d.Errf("param %s: %v", param.Name, notOneOf(param.Kind, kinds))
	}
	if len(values) > most {
		return p.d.Errf("param %s: too many arguments for a %s; quote what belongs together", param.Name, param.Kind)
	}
	seen := once{}
	err = block(p.d, func(name string) error {
		if err := seen.check(p.d, name, "description", "trim", "link"); err != nil {
			return err
		}
		switch name {
		case "description":
			return p.text(&param.Description, name)
		case "trim":
			return p.flag(&param.Trim, name)
		case "link":
			return p.text(&param.Link, name)
		}
		return unknown(p.d, name, "param "+param.Name)
	})
	if err != nil {
		return err
	}
	j.Params = append(j.Params, param)
	if err := job.CheckParams(j.Params); err != nil {
		return p.d.WrapErr(err)
	}
	return nil
}
