// Package hook verifies webhook deliveries. A [Webhook] knows the secrets of one
// sender; [Webhook.Begin] reads the headers of a delivery and returns a [Check],
// to which the caller writes the body as it arrives. [Check.Finish] reports
// whether one of the secrets signed it.
//
// What to watch out for:
//
//   - The signature covers the bytes that were sent. Write them to the Check as
//     they are, before anything decodes them. [Check.SignsPayload] names the one
//     exception.
//   - A header that is present is not a signature: Gitea without a secret sends
//     an empty one. Begin accepts only a header of the right form and length.
//   - The errors are for the log. They name headers and never their values.
//   - Most senders sign the body alone, not the name of the event or the ID of
//     the delivery. These prove nothing, even if the signature is right.
package hook
