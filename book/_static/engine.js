/* The training of the page "Train it yourself": the post's models, in plain JavaScript. Nothing here
   touches the page, so that a worker, Node and the tests can run it; tests hold its weights against
   src/embedlens/rowwise_jax.py.

   `embedLensEngine()` gives the functions. It is one function, so that its own text makes a worker
   where no file may be loaded (a page opened from disk). */
"use strict";

function embedLensEngine() {
  const BETA_1 = 0.9;
  const BETA_2 = 0.999;
  const EPSILON = 1e-7;
  const FADING = BETA_1 / Math.sqrt(BETA_2); // of the drift, in a step without gradient
  const HORIZON = 400; // FADING ** 400 is below 1e-18

  /* Random numbers by the generator sfc32: the same seed gives the same numbers everywhere. */
  function generator(seed) {
    const s = Int32Array.of(seed, 0x9e3779b9, 0x243f6a88, 1); // sums wrap around at 32 bits
    function bits() {
      const sum = (s[0] + s[1] + s[3]) | 0;
      s[3] += 1;
      s[0] = s[1] ^ (s[1] >>> 9);
      s[1] = s[2] + (s[2] << 3);
      s[2] = ((s[2] << 21) | (s[2] >>> 11)) + sum;
      return sum >>> 0;
    }
    for (let i = 0; i < 15; i++) bits(); // seeds that are alike go different ways
    const uniform = () => bits() / 2 ** 32;
    const below = (n) => Math.floor(uniform() * n);
    return { bits, uniform, below };
  }

  /* Shuffle an array in place (Fisher and Yates). */
  function shuffle(array, random) {
    for (let i = array.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      const kept = array[i];
      array[i] = array[j];
      array[j] = kept;
    }
    return array;
  }

  /* The ratings of ratings-data.js, user by user, movies rising. Each is one number, in bytes of seven
     bits: the gap to the movie before and the half stars; see embedlens.book.pages. */
  function decode({ bytes, counts }) {
    const packed = Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0));
    const n = counts.reduce((sum, count) => sum + count, 0);
    const ratings = { users: new Int32Array(n), movies: new Int32Array(n), stars: new Float32Array(n) };
    let at = 0;
    let row = 0;
    counts.forEach((count, user) => {
      let movie = 0;
      for (let i = 0; i < count; i++, row++) {
        let gap = 0;
        let shift = 1;
        while (packed[at] & 128) {
          gap += (packed[at++] & 127) * shift;
          shift *= 128;
        }
        gap += packed[at++] * shift;
        movie += Math.floor(gap / 10) + 1;
        ratings.users[row] = user + 1;
        ratings.movies[row] = movie;
        ratings.stars[row] = ((gap % 10) + 1) / 2;
      }
    });
    return { ...ratings, nUsers: counts.length, nMovies: ratings.movies.reduce((a, b) => Math.max(a, b), 0) };
  }

  /* One rating in five validates. Gives the rows of both parts. */
  function split(ratings, seed) {
    const random = generator(~seed); // other numbers than those of the training
    const rows = shuffle(Int32Array.from(ratings.users, (_, row) => row), random);
    const end = Math.floor(0.8 * rows.length);
    return { train: rows.slice(0, end), valid: rows.slice(end) };
  }

  /* Adam's size of each step, and the drift that is still to come for a weight left after it. */
  function series(steps, rate) {
    const sizes = Float64Array.from({ length: steps + HORIZON }, (_, step) => {
      const t = step + 1;
      return (rate * Math.sqrt(1 - BETA_2 ** t)) / (1 - BETA_1 ** t);
    });
    const drift = new Float64Array(sizes.length + 1);
    for (let t = sizes.length - 1; t >= 0; t--) drift[t] = FADING * (sizes[t] + drift[t + 1]);
    const powers = (base) => Float64Array.from({ length: sizes.length + 1 }, (_, k) => base ** k);
    return { sizes, drift, fading: powers(FADING), first: powers(BETA_1), second: powers(BETA_2) };
  }

  /* A table of rows with Adam's moments; row 0 belongs to nobody. */
  function table(rows, width, weights) {
    return {
      width,
      weights,
      m: new Float32Array(rows * width),
      v: new Float32Array(rows * width),
      gradient: new Float32Array(rows * width),
      last: new Int32Array(rows), // steps after which the row was up to date
      asked: new Int32Array(rows).fill(-1), // step that looked it up last
    };
  }

  /* Move a row to where dense Adam has it before step `now`: its gradient was zero since. The drift
     is a known series, so all that was missed takes one step. */
  function catchUp(side, row, now, { drift, fading, first, second }) {
    const missed = now - side.last[row];
    if (missed === 0) return;
    const moved = drift[side.last[row]] - fading[missed] * drift[now];
    const { weights, m, v, width } = side;
    for (let i = row * width; i < (row + 1) * width; i++) {
      weights[i] -= (moved * m[i]) / (Math.sqrt(v[i]) + EPSILON);
      m[i] *= first[missed];
      v[i] *= second[missed];
    }
    side.last[row] = now;
  }

  /* One step of Adam for a row that was looked up. */
  function adam(side, row, now, size) {
    const { weights, m, v, gradient, width } = side;
    for (let i = row * width; i < (row + 1) * width; i++) {
      const g = gradient[i];
      m[i] += (g - m[i]) * (1 - BETA_1);
      v[i] += (g * g - v[i]) * (1 - BETA_2);
      weights[i] -= (size * m[i]) / (Math.sqrt(v[i]) + EPSILON);
    }
    side.last[row] = now + 1;
  }

  /* A model and its training.

     settings: model ("dot" or "bias"), low and high (initial weights are uniform between them), dim,
     userDropout, movieDropout, rate, batch, epochs, seed.
     parts: rows of the ratings, as from `split`.
     given: initial weights {users, movies}, each row its vector and, in the bias model, its bias;
     `orders`, a list with the order of the training rows of each epoch. Default: drawn by the seed. */
  function trainer(ratings, parts, settings, given = {}) {
    const { model, dim, low, high, userDropout, movieDropout, rate, batch, epochs, seed } = settings;
    const hasBias = model === "bias";
    const width = dim + (hasBias ? 1 : 0);
    const random = generator(seed);
    const drawn = (n) => Float32Array.from({ length: n * width }, () => low + (high - low) * random.uniform());
    const weights = (side, n) => Float32Array.from(given[side] ?? drawn(n));
    const users = table(ratings.nUsers + 1, width, weights("users", ratings.nUsers + 1));
    const movies = table(ratings.nMovies + 1, width, weights("movies", ratings.nMovies + 1));
    const perEpoch = Math.ceil(parts.train.length / batch);
    const known = series(perEpoch * epochs, rate);
    const hasDropout = userDropout > 0 || movieDropout > 0;
    const kept = new Float64Array(dim).fill(1); // factor of each product of a user's and a movie's number
    let order = Int32Array.from(parts.train);
    let step = 0;

    const predicted = (score) => (hasBias ? 0.5 + 4.5 / (1 + Math.exp(-score)) : score);

    function score(row) {
      const u = ratings.users[row] * width;
      const m = ratings.movies[row] * width;
      let sum = hasBias ? users.weights[u + dim] + movies.weights[m + dim] : 0;
      for (let k = 0; k < dim; k++) sum += users.weights[u + k] * movies.weights[m + k];
      return sum;
    }

    function lookUp(side, row) {
      if (side.asked[row] === step) return;
      side.asked[row] = step;
      catchUp(side, row, step, known);
      side.gradient.fill(0, row * width, (row + 1) * width);
    }

    /* A row that the batch looked up more than once is moved once, by the sum of its gradients. */
    function learnt(side, row) {
      if (side.last[row] === step) adam(side, row, step, known.sizes[step]);
    }

    /* Silence numbers of the user and of the movie; what is left grows, so that the mean stays. Half of
       the random bits are for either. */
    function dropOut() {
      const larger = 1 / ((1 - userDropout) * (1 - movieDropout));
      for (let k = 0; k < dim; k++) {
        const bits = random.bits();
        const isLeft = (bits & 65535) >= 65536 * userDropout && bits >>> 16 >= 65536 * movieDropout;
        kept[k] = isLeft ? larger : 0;
      }
    }

    /* Add what one rating of a batch of `n` says to the gradients of its two rows. */
    function learn(row, n) {
      const u = ratings.users[row] * width;
      const m = ratings.movies[row] * width;
      let sum = hasBias ? users.weights[u + dim] + movies.weights[m + dim] : 0;
      if (hasDropout) dropOut();
      for (let k = 0; k < dim; k++) sum += users.weights[u + k] * movies.weights[m + k] * kept[k];
      const prediction = predicted(sum);
      let slope = (2 * (prediction - ratings.stars[row])) / n;
      if (hasBias) slope *= ((prediction - 0.5) * (5 - prediction)) / 4.5;
      for (let k = 0; k < dim; k++) {
        const both = slope * kept[k];
        users.gradient[u + k] += both * movies.weights[m + k];
        movies.gradient[m + k] += both * users.weights[u + k];
      }
      if (!hasBias) return;
      users.gradient[u + dim] += slope;
      movies.gradient[m + dim] += slope;
    }

    /* Train on one batch; true if it was the last of an epoch, and all rows are up to date. */
    function oneBatch() {
      const epoch = Math.floor(step / perEpoch);
      const place = step % perEpoch;
      if (place === 0) order = given.orders ? Int32Array.from(given.orders[epoch]) : shuffle(order, random);
      const rows = order.subarray(place * batch, (place + 1) * batch);
      for (const row of rows) {
        lookUp(users, ratings.users[row]);
        lookUp(movies, ratings.movies[row]);
      }
      for (const row of rows) learn(row, rows.length);
      for (const row of rows) {
        learnt(users, ratings.users[row]);
        learnt(movies, ratings.movies[row]);
      }
      step += 1;
      if (place < perEpoch - 1) return false;
      allUpToDate();
      return true;
    }

    function allUpToDate() {
      for (const side of [users, movies]) {
        for (let row = 0; row < side.last.length; row++) catchUp(side, row, step, known);
      }
    }

    /* RMSE over rows of the ratings, in stars, without dropout. */
    function rmse(rows) {
      let sum = 0;
      for (const row of rows) sum += (predicted(score(row)) - ratings.stars[row]) ** 2;
      return Math.sqrt(sum / rows.length);
    }

    return {
      oneBatch,
      rmse,
      dim,
      width,
      perEpoch,
      users: users.weights,
      movies: movies.weights,
      batches: () => step,
      done: () => step >= perEpoch * epochs,
    };
  }

  /* Rows that validate, those of movies seen in training and those of cold ones. */
  function groups(ratings, { train, valid }) {
    const seen = new Uint8Array(ratings.nMovies + 1);
    for (const row of train) seen[ratings.movies[row]] = 1;
    const isSeen = (row) => seen[ratings.movies[row]] === 1;
    return { train, valid, seen: valid.filter(isSeen), cold: valid.filter((row) => !isSeen(row)) };
  }

  /* Epoch after which Keras' early stopping ends training: `patience` epochs without a lower error.
     Null if it goes on; patience 0 never stops. */
  function stoppedAfter(errors, patience) {
    let best = 0;
    for (let epoch = 0; epoch < errors.length; epoch++) {
      if (errors[epoch] < errors[best]) best = epoch;
      if (patience && epoch - best >= patience) return epoch + 1;
    }
    return null;
  }

  /* Scores of all rows on the first principal component, without centring, by power iteration. */
  function firstComponent(weights, width, dim) {
    const rows = weights.length / width;
    const products = new Float64Array(dim * dim);
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < dim; i++) {
        const x = weights[row * width + i];
        for (let j = 0; j <= i; j++) products[i * dim + j] += x * weights[row * width + j];
      }
    }
    for (let i = 0; i < dim; i++) for (let j = 0; j < i; j++) products[j * dim + i] = products[i * dim + j];
    let axis = Float64Array.from({ length: dim }, (_, i) => 1 + i / dim);
    for (let round = 0; round < 200; round++) {
      const next = axis.map((_, i) => axis.reduce((sum, x, j) => sum + products[i * dim + j] * x, 0));
      const length = Math.hypot(...next) || 1;
      axis = next.map((x) => x / length);
    }
    return Float64Array.from({ length: rows }, (_, row) => {
      let sum = 0;
      for (let i = 0; i < dim; i++) sum += weights[row * width + i] * axis[i];
      return sum;
    });
  }

  function correlation(a, b) {
    const mean = (x) => x.reduce((sum, value) => sum + value, 0) / x.length;
    const [ma, mb] = [mean(a), mean(b)];
    let [ab, aa, bb] = [0, 0, 0];
    for (let i = 0; i < a.length; i++) {
      ab += (a[i] - ma) * (b[i] - mb);
      aa += (a[i] - ma) ** 2;
      bb += (b[i] - mb) ** 2;
    }
    return ab / Math.sqrt(aa * bb || 1);
  }

  /* PC1 of the often rated movies by either join, turned so that it grows with the mean rating.
     `shift` 0 is the right join, 1 that of the post: each movie gets the row of the one before. */
  function joined(scores, ids, means, shift) {
    const found = ids.map((id) => scores[id - shift]);
    const sign = correlation(found, means) < 0 ? -1 : 1;
    return found.map((value) => sign * value);
  }

  return { generator, decode, split, trainer, groups, stoppedAfter, firstComponent, correlation, joined };
}

if (typeof module !== "undefined") module.exports = embedLensEngine;
