// Package job defines the names, folders, settings and parameters of jobs.
//
// A job has a full name: the names of the folders above it and its own, separated
// by slashes, as in team/app/deploy. [ParseFullName] parses the full name in a
// request. A [Tree] holds all jobs, and the folders that their names imply; it is
// immutable, so a new configuration is a new tree. [Settings] apply to all jobs
// below a folder; [Settings.Under] implements inheritance.
//
// [Job.Values] turns the values of a trigger into those of the job's parameters,
// and [ParseDelay] parses its delay.
//
// Case is significant in names of jobs and folders. Names of parameters must differ
// in more than case, because a build sees them as environment variables, and some
// systems do not distinguish PATH from Path.
package job
