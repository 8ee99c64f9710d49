-- Counts a call of a key, if the limits allow it.
-- KEYS: the list of the times of the last calls, oldest first; the hash of the day.
-- ARGV: calls a second, calls a day (0: no limit), the day, calls of it that the asker knows of, calls of it to add, and the time in
-- microseconds, or '' for that of this server, which is the same for all who ask.
-- Answers: allowed (1 or 0), the day, its calls, the calls of the last second, microseconds until these will be fewer.
local per_second, per_day = tonumber(ARGV[1]), tonumber(ARGV[2])
local day, floor, add = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local window = 1001000 -- quota.Window
local whole = function(n) return string.format('%.0f', n) end

local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Times that are later than now are from before the clock was set back.
local recent, oldest = 0, now
if per_second > 0 then
  for _, text in ipairs(redis.call('LRANGE', KEYS[1], -per_second, -1)) do
    local at = tonumber(text)
    if at > now - window and at <= now + window then
      recent = recent + 1
      if at < oldest then oldest = at end
    end
  end
end

-- A day that has begun does not come back; one far ahead was counted with a wrong clock.
local counted = redis.call('HMGET', KEYS[2], 'day', 'used')
local before, used = tonumber(counted[1] or 0), tonumber(counted[2] or 0)
if before >= day and before <= day + 2 then day = before else used = 0 end
if floor > used then used = floor end

local allowed = (per_second == 0 or recent < per_second) and (per_day == 0 or used + add < per_day)
if allowed then
  used = used + add + 1
  redis.call('HSET', KEYS[2], 'day', whole(day), 'used', whole(used))
  redis.call('EXPIRE', KEYS[2], 172800)
  if per_second > 0 then
    redis.call('RPUSH', KEYS[1], whole(now))
    redis.call('LTRIM', KEYS[1], -per_second, -1)
    redis.call('EXPIRE', KEYS[1], 3)
    recent = recent + 1
  end
end
local reset = 0
if recent > 0 then reset = oldest + window - now end
return {allowed and 1 or 0, day, used, recent, reset}
