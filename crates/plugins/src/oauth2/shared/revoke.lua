revoke()
return {1}
