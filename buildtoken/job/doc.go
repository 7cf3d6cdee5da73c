// Package job knows what a job is called, where it stands, and what a trigger
// may hand it.
//
// A job has a full name: the names of the folders above it and its own, with
// slashes between, as in team/app/deploy. [ParseFullName] reads one as it
// comes in a request. A [Tree] holds all jobs and the folders that follow from
// their names; it never changes, so a new configuration is a new tree. What a
// folder says about all jobs below it is a [Settings], and [Settings.Under]
// is the one rule of inheritance.
//
// [Job.Values] turns what a trigger brought into the values of the job's
// parameters, and [ParseDelay] reads its delay.
//
// What will bite you: case counts in names of jobs and folders, everywhere and
// always, but not in names of parameters, because a build sees those as
// environment variables and not every system tells PATH from Path.
package job
