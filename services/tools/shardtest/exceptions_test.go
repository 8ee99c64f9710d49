package shardtest

// exception is a statement that reads or writes tables without their instance.
type exception struct {
	// part is in every such statement, and in no other that has something wrong with it.
	part   string
	tables []string
	reason string
}

// exceptions are all of them. None reads for somebody who asks: what a key or a channel's token does not prove is found here, and
// everything else is work of a service for itself. On a cluster each is asked of all servers; deploy/sharding.md says what that means.
var exceptions = []exception{
	{`FROM api_key WHERE id = $1`, []string{"api_key"}, "a key that is shown names no instance; its secret is compared afterwards"},
	{`FROM channel WHERE id = $1 AND delete_time IS NULL`, []string{"channel"},
		"a channel's own calls name it by an id that cannot be guessed"},
	{`FROM bot_api WHERE id = $1 AND delete_time IS NULL`, []string{"bot_api"},
		"an integration's own calls name it by an id that cannot be guessed"},
	{`FROM instance WHERE instance > $1 ORDER BY instance`, []string{"instance"}, "the list of instances, for the root key alone"},

	{`UPDATE thread SET epoch = thread.epoch + 1`, []string{"thread"}, "the leases of a replica that has died, whoever's lanes it held"},
	{`UPDATE lane SET epoch = lane.epoch + 1`, []string{"lane"}, "the leases of a replica that has died, whoever's lanes it held"},
	{`UPDATE redelivery_lane AS r SET epoch = r.epoch + 1`, []string{"redelivery_lane"},
		"the leases of a replica that has died, whoever's lanes it held"},
	{`WITH RECURSIVE pending (instance) AS`, []string{"thread"},
		"the instances with messages that are due, for the workers that take them"},
	{`WITH RECURSIVE pending (endpoint_id) AS ( SELECT min(endpoint_id) FROM lane`, []string{"lane", "channel", "bot_api"},
		"the endpoints with deliveries that are due, for the workers that take them"},
	{`WITH RECURSIVE pending (endpoint_id) AS ( SELECT min(endpoint_id) FROM redelivery_lane`, []string{"redelivery_lane", "channel",
		"bot_api"},
		"the endpoints with deliveries that are to be sent again, for the workers that take them"},
	{`UPDATE thread SET epoch = epoch + 1, lease_until = 0, next_time = $1`, []string{"thread"},
		"the leases of a process that is no more, on the embedded store"},
	{`UPDATE lane SET epoch = epoch + 1, lease_until = 0, next_time = $1`, []string{"lane"},
		"the leases of a process that is no more, on the embedded store"},
	{`UPDATE redelivery_lane SET epoch = epoch + 1, lease_until = 0, next_time = $1`, []string{"redelivery_lane"},
		"the leases of a process that is no more, on the embedded store"},
	{`FROM channel WHERE delete_time IS NOT NULL AND reap_time IS NULL UNION ALL`, []string{"channel", "bot_api"},
		"what is deleted and must be cleared away"},
	{`FROM thread JOIN message ON`, []string{"thread", "message"}, "a metric: messages that wait, and the age of the oldest"},
	{`FROM lane JOIN delivery ON`, []string{"lane", "delivery"}, "a metric: deliveries that wait, and the age of the oldest"},
	{`SELECT count(*) FROM lane WHERE settled_seq < last_seq AND next_time`, []string{"lane"}, "a metric: lanes that wait for somebody"},
	{`FROM redelivery_lane WHERE waiting > 0`, []string{"redelivery_lane"}, "a metric: deliveries that are to be sent again"},

	{`FROM pending_record WHERE (instance, conversation_id, turn_number) > ($1, $2, $3)`, []string{"pending_record"},
		"the turns that contacts does not have yet, for the one worker that gives them"},
	{`SELECT count(*) FROM (SELECT 1 AS one FROM pending_record LIMIT $1)`, []string{"pending_record", "turn"},
		"a metric: turns that contacts does not have yet, and the age of the oldest"},
	{`FROM (SELECT instance, turn_id FROM search_pending LIMIT $1)`, []string{"search_pending", "turn"},
		"a metric: the age of the oldest turn that is not in the index yet"},
	{`FROM search_pending p LEFT JOIN turn t ON`, []string{"search_pending", "turn", "conversation"},
		"the turns that are not in the index yet, for the workers that put them there"},
	{`FROM search_text WHERE grams @> `, []string{"search_text"},
		"the hashes of trigrams have the instance in them, so the index gives no other's rows; it is compared in a form that leads to no other index"},
	{`FROM conversation WHERE state = 'OPEN' AND instance > $1`, []string{"conversation"},
		"the instances with open conversations, for the worker that ends idle ones"},
	{`FROM chat_turn q WHERE failure = '' AND NOT EXISTS`, []string{"chat_turn"},
		"the chats of processes that are no more, for whoever takes them over"},
	{`DELETE FROM chat_turn AS q`, []string{"chat_turn"}, "the sweep of chats that are done with"},
	{`SELECT id FROM chat_turn WHERE holder = $1 AND stopped`, []string{"chat_turn"},
		"the chats of this process that others want stopped"},

	{`DELETE FROM idempotency WHERE (instance, scope, key) IN`, []string{"idempotency"},
		"the sweep of idempotency keys that have expired"},
	{`FROM erasure WHERE finish_time IS NULL`, []string{"erasure"}, "the erasures that were not finished, at a start"},
	{`SELECT max(finish_time) FROM erasure WHERE scrub_time IS NULL`, []string{"erasure"},
		"what is to be scrubbed from the files, which are everybody's"},
	{`UPDATE erasure SET scrub_time = $2`, []string{"erasure"}, "what was scrubbed from the files, which are everybody's"},
	{`SELECT DISTINCT instance FROM erasure`, []string{"erasure"},
		"the instances that have erasures, kept in memory, on the embedded store"},
	{`SELECT min(instance) AS instance FROM chat_conversation WHERE instance > $1) AS i`, []string{"conversation", "chat_conversation"},
		"the next instance that has anything, for the worker that deletes what is old"},
	{`SELECT min(instance) AS instance FROM delivery WHERE instance > $1) AS i`, []string{"thread", "delivery"},
		"the next instance that has anything, for the worker that deletes what is old"},
	{`SELECT min(instance) FROM counter WHERE instance > $1`, []string{"counter"},
		"the next instance that has anything, for the worker that deletes what is old"},
}
