// Package hooks serves webhooks: signed deliveries of other systems, each of which can
// start builds of several jobs.
//
// [Serve] answers /buildByToken/webhook, and at the addresses that Jenkins' plugins have,
// /github-webhook/ and /project/FULL/NAME. A user who may build the jobs can play a delivery again,
// at /queue/deliveries/N/replayForm.
//
// What to watch out for:
//
//   - The order of the checks decides what a sender without the secret can find out, and how
//     much work it can cause. A delivery without a signature of the right form is refused
//     before its body is read, and nothing that was not verified is logged or kept.
//   - A webhook is never answered with a redirection: GitHub does not follow one,
//     GitLab follows it with the secret in a header.
//   - Once a delivery is verified, it is carried out to the end, even if the sender has
//     given up. If it fails for some jobs, the sender repeats it, and the receipts of
//     the others keep them from being queued twice.
package hooks
