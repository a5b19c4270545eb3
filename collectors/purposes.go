package collectors

// The purposes of the probes that are sent all the time, as netio.Packet names them. All other probes
// search or compare.
const (
	PurposeEcho = "echo: does the peer answer?"
	PurposeIKE  = "is IKE answered on this port?"
)
