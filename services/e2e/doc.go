// Package e2e tests Prosa from outside: the real binary, its REST and gRPC
// surfaces, both stores, and the faults that it must survive.
//
// Cases are data: each file of cases/ is replayed over REST and gRPC on both
// stores. Fault runs have a ledger of what was acknowledged and a receiver that
// records what arrives, and compare the two with the stores. What must hold
// after every one has a number here:
//
//	I1   Acknowledged means stored.
//	I2   Effect once: one message is one row, at most one committed turn, and
//	     one delivery for each message of the answer.
//	I3   Conservation: accepted = delivered + dead + pending + cancelled + erased.
//	I4   At least once out, with the same webhook-id and body on every attempt.
//	I5   Order per conversation: first arrivals are in sequence, without a gap.
//	I6   Isolation: a dead endpoint moves nobody else's answers.
//	I7   No stranger's data: another instance's id answers as one that is not.
//	I9   A walk over pages shows what was there when it began once, whatever is
//	     written meanwhile.
//	I13  Erased stays erased, also after an older store was put back.
//	I12  Unknown is named: a call whose outcome is not known, repeated with its
//	     key, gets the first result.
package e2e
